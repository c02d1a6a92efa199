//! The messages and services of `proto/`, as compiled.

#![allow(missing_docs, clippy::all)]

/// What is on the wire.
mod compiled {
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    pub mod v3lockpb {
        tonic::include_proto!("v3lockpb");
    }
    pub mod v3electionpb {
        tonic::include_proto!("v3electionpb");
    }
    pub mod grpc {
        pub mod health {
            pub mod v1 {
                tonic::include_proto!("grpc.health.v1");
            }
        }
    }
    pub mod corten {
        pub mod kv {
            tonic::include_proto!("corten.kv");
        }
    }
}

pub use compiled::corten::kv as internal;
pub use compiled::etcdserverpb::*;
pub use compiled::grpc::health::v1 as health;
pub use compiled::{v3electionpb as election, v3lockpb as lock};

/// The descriptors of all of them, for what is found out at run time.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
