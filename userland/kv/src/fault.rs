//! What a request can be refused with: code and text as etcd has them, for clients match on both.
//!
//! Source: etcd 3.4, api/v3rpc/rpctypes/error.go (the facts: names, codes, texts).

use tonic::{Code, Status};

macro_rules! faults {
    ($($name:ident $code:ident $text:literal)*) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum Fault {
            $(#[doc = $text] #[error($text)] $name,)*
        }

        impl Fault {
            /// The gRPC code.
            pub fn code(self) -> Code {
                match self { $(Fault::$name => Code::$code,)* }
            }
        }
    };
}

faults! {
    EmptyKey InvalidArgument "etcdserver: key is not provided"
    KeyNotFound InvalidArgument "etcdserver: key not found"
    ValueProvided InvalidArgument "etcdserver: value is provided"
    LeaseProvided InvalidArgument "etcdserver: lease is provided"
    TooManyOps InvalidArgument "etcdserver: too many operations in txn request"
    DuplicateKey InvalidArgument "etcdserver: duplicate key given in txn request"
    InvalidSortOption InvalidArgument "etcdserver: invalid sort option"
    Compacted OutOfRange "etcdserver: mvcc: required revision has been compacted"
    FutureRevision OutOfRange "etcdserver: mvcc: required revision is a future revision"
    NoSpace ResourceExhausted "etcdserver: mvcc: database space exceeded"
    LeaseNotFound NotFound "etcdserver: requested lease not found"
    LeaseExists FailedPrecondition "etcdserver: lease already exists"
    LeaseTtlTooLarge OutOfRange "etcdserver: too large lease TTL"
    MemberExists FailedPrecondition "etcdserver: member ID already exist"
    PeerUrlExists FailedPrecondition "etcdserver: Peer URLs already exists"
    NotEnoughStarted Unknown "etcdserver: re-configuration failed due to not enough started members"
    BadMemberUrls InvalidArgument "etcdserver: given member URLs are invalid"
    MemberNotFound NotFound "etcdserver: member not found"
    NotLearner FailedPrecondition "etcdserver: can only promote a learner member"
    LearnerNotReady FailedPrecondition "etcdserver: can only promote a learner member which is in sync with leader"
    TooManyLearners FailedPrecondition "etcdserver: too many learner members in cluster"
    RequestTooLarge InvalidArgument "etcdserver: request is too large"
    TooManyRequests ResourceExhausted "etcdserver: too many requests"
    RootUserMissing FailedPrecondition "etcdserver: root user does not exist"
    RootRoleMissing FailedPrecondition "etcdserver: root user does not have root role"
    UserExists FailedPrecondition "etcdserver: user name already exists"
    UserEmpty InvalidArgument "etcdserver: user name is empty"
    UserNotFound FailedPrecondition "etcdserver: user name not found"
    RoleExists FailedPrecondition "etcdserver: role name already exists"
    RoleNotFound FailedPrecondition "etcdserver: role name not found"
    RoleEmpty InvalidArgument "etcdserver: role name is empty"
    AuthFailed InvalidArgument "etcdserver: authentication failed, invalid user ID or password"
    PermissionDenied PermissionDenied "etcdserver: permission denied"
    PermissionNotGiven InvalidArgument "etcdserver: permission not given"
    RoleNotGranted FailedPrecondition "etcdserver: role is not granted to the user"
    PermissionNotGranted FailedPrecondition "etcdserver: permission is not granted to the role"
    AuthNotEnabled FailedPrecondition "etcdserver: authentication is not enabled"
    InvalidAuthToken Unauthenticated "etcdserver: invalid auth token"
    InvalidAuthManagement InvalidArgument "etcdserver: invalid auth management"
    AuthOldRevision InvalidArgument "etcdserver: revision of auth store is old"
    NoLeader Unavailable "etcdserver: no leader"
    NotLeader FailedPrecondition "etcdserver: not leader"
    LeaderChanged Unavailable "etcdserver: leader changed"
    Stopped Unavailable "etcdserver: server stopped"
    Timeout Unavailable "etcdserver: request timed out"
    Unhealthy Unavailable "etcdserver: unhealthy cluster"
    Corrupt DataLoss "etcdserver: corrupt cluster"
    NotForLearner Unavailable "etcdserver: rpc not supported for learner"
    BadTransferee FailedPrecondition "etcdserver: bad leader transferee"
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Status {
        Status::new(fault.code(), fault.to_string())
    }
}
