//! Omaha 3.0, the protocol in which a machine asks a server for releases, as CoreOS's update_engine and the servers
//! CoreUpdate and Nebraska speak it: a [`Request`] goes there by POST, a [`Response`] comes back, both XML.
//!
//! Pure: bytes in, bytes out, both ways, for the machine and for the server. What is unknown is passed over; what is
//! needed and missing is an error. Source: the Omaha protocol, version 3.0.

mod element;
mod event;
mod request;
mod response;

pub use element::{Malformed, Unwritable};
pub use event::{Event, EventResult, EventType};
pub use request::{App, Check, Os, Request};
pub use response::{Answer, Offer, Package, Response, Verdict};

/// The application of CoreOS's machines.
pub const COREOS: &str = "{e96281a6-d1af-4bde-9a0a-97b76e56dc57}";
/// No request and no response is longer, in bytes.
pub const LONGEST: usize = 1 << 20;

#[cfg(test)]
mod tests;
