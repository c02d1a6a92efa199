//! The service Auth. Passwords are hashed here, before they are proposed: the log never holds one.

use tonic::{Request, Response, Status};

use super::Api;
use crate::fault::Fault;
use crate::password;
use crate::proto::auth_server::Auth;
use crate::proto::internal::AuthenticateToken;
use crate::proto::internal::command::Request as Command;
use crate::proto::*;
use crate::state::Reply;
use crate::state::auth::Caller;

/// Hashing takes its time on purpose; others must not wait for it.
pub(super) async fn hash(password: String) -> Result<String, Fault> {
    tokio::task::spawn_blocking(move || password::hash(&password)).await.map_err(|_| Fault::Stopped)
}

impl Api {
    async fn change_auth(
        &self,
        caller: Caller,
        command: Command,
    ) -> Result<(Reply, Option<ResponseHeader>), Fault> {
        let (reply, revision) = self.node.propose(caller, command).await?;
        Ok((reply, Some(self.node.header_at(revision))))
    }

    /// The user whose password this is.
    pub(super) async fn check_password(&self, name: &str, password: String) -> Result<(), Fault> {
        let hash = {
            let state = self.node.state.read();
            let user = state.auth.user(name).ok_or(Fault::AuthFailed)?;
            if user.no_password {
                return Err(Fault::AuthFailed);
            }
            user.hash.clone()
        };
        let matches = tokio::task::spawn_blocking(move || password::verify(&password, &hash)).await;
        if matches.unwrap_or(false) { Ok(()) } else { Err(Fault::AuthFailed) }
    }
}

#[tonic::async_trait]
impl Auth for Api {
    async fn auth_enable(
        &self,
        request: Request<AuthEnableRequest>,
    ) -> Result<Response<AuthEnableResponse>, Status> {
        let caller = self.ready(&request)?;
        let (_, header) = self.change_auth(caller, Command::AuthEnable(request.into_inner())).await?;
        Ok(Response::new(AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<AuthDisableRequest>,
    ) -> Result<Response<AuthDisableResponse>, Status> {
        let caller = self.ready(&request)?;
        let (_, header) = self.change_auth(caller, Command::AuthDisable(request.into_inner())).await?;
        Ok(Response::new(AuthDisableResponse { header }))
    }

    async fn auth_status(
        &self,
        _: Request<AuthStatusRequest>,
    ) -> Result<Response<AuthStatusResponse>, Status> {
        let state = self.node.state.read();
        let header = Some(self.node.header_at(state.mvcc.revision()));
        let (enabled, auth_revision) = (state.auth.is_enabled(), state.auth.revision());
        Ok(Response::new(AuthStatusResponse { header, enabled, auth_revision }))
    }

    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let request = request.into_inner();
        if !self.node.state.read().auth.is_enabled() {
            return Err(Fault::AuthNotEnabled.into());
        }
        self.node.linearize().await?;
        self.check_password(&request.name, request.password).await?;
        let token = format!("{}.{}", password::random_text(), self.node.standing.borrow().applied);
        let login = AuthenticateToken { name: request.name, token: token.clone() };
        let (_, header) = self.change_auth(Caller::default(), Command::Authenticate(login)).await?;
        Ok(Response::new(AuthenticateResponse { header, token }))
    }

    async fn user_add(
        &self,
        request: Request<AuthUserAddRequest>,
    ) -> Result<Response<AuthUserAddResponse>, Status> {
        let caller = self.ready(&request)?;
        let mut request = request.into_inner();
        let no_password = request.options.as_ref().is_some_and(|options| options.no_password);
        let password = std::mem::take(&mut request.password);
        if request.hashed_password.is_empty() && !no_password {
            request.hashed_password = hash(password).await?;
        }
        let (_, header) = self.change_auth(caller, Command::UserAdd(request)).await?;
        Ok(Response::new(AuthUserAddResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<AuthUserChangePasswordRequest>,
    ) -> Result<Response<AuthUserChangePasswordResponse>, Status> {
        let caller = self.ready(&request)?;
        let mut request = request.into_inner();
        let password = std::mem::take(&mut request.password);
        if request.hashed_password.is_empty() {
            request.hashed_password = hash(password).await?;
        }
        let (_, header) = self.change_auth(caller, Command::UserChangePassword(request)).await?;
        Ok(Response::new(AuthUserChangePasswordResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<AuthUserGetRequest>,
    ) -> Result<Response<AuthUserGetResponse>, Status> {
        let caller = self.ready(&request)?;
        match self.change_auth(caller, Command::UserGet(request.into_inner())).await? {
            (Reply::Names(roles), header) => Ok(Response::new(AuthUserGetResponse { header, roles })),
            _ => Err(Fault::Stopped.into()),
        }
    }

    async fn user_list(
        &self,
        request: Request<AuthUserListRequest>,
    ) -> Result<Response<AuthUserListResponse>, Status> {
        let caller = self.ready(&request)?;
        match self.change_auth(caller, Command::UserList(request.into_inner())).await? {
            (Reply::Names(users), header) => Ok(Response::new(AuthUserListResponse { header, users })),
            _ => Err(Fault::Stopped.into()),
        }
    }

    async fn role_get(
        &self,
        request: Request<AuthRoleGetRequest>,
    ) -> Result<Response<AuthRoleGetResponse>, Status> {
        let caller = self.ready(&request)?;
        match self.change_auth(caller, Command::RoleGet(request.into_inner())).await? {
            (Reply::Permissions(perm), header) => Ok(Response::new(AuthRoleGetResponse { header, perm })),
            _ => Err(Fault::Stopped.into()),
        }
    }

    async fn role_list(
        &self,
        request: Request<AuthRoleListRequest>,
    ) -> Result<Response<AuthRoleListResponse>, Status> {
        let caller = self.ready(&request)?;
        match self.change_auth(caller, Command::RoleList(request.into_inner())).await? {
            (Reply::Names(roles), header) => Ok(Response::new(AuthRoleListResponse { header, roles })),
            _ => Err(Fault::Stopped.into()),
        }
    }

    async fn user_delete(
        &self,
        request: Request<AuthUserDeleteRequest>,
    ) -> Result<Response<AuthUserDeleteResponse>, Status> {
        let caller = self.ready(&request)?;
        let (_, header) = self.change_auth(caller, Command::UserDelete(request.into_inner())).await?;
        Ok(Response::new(AuthUserDeleteResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<AuthUserGrantRoleRequest>,
    ) -> Result<Response<AuthUserGrantRoleResponse>, Status> {
        let caller = self.ready(&request)?;
        let (_, header) = self.change_auth(caller, Command::UserGrantRole(request.into_inner())).await?;
        Ok(Response::new(AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<AuthUserRevokeRoleRequest>,
    ) -> Result<Response<AuthUserRevokeRoleResponse>, Status> {
        let caller = self.ready(&request)?;
        let (_, header) = self.change_auth(caller, Command::UserRevokeRole(request.into_inner())).await?;
        Ok(Response::new(AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<AuthRoleAddRequest>,
    ) -> Result<Response<AuthRoleAddResponse>, Status> {
        let caller = self.ready(&request)?;
        let (_, header) = self.change_auth(caller, Command::RoleAdd(request.into_inner())).await?;
        Ok(Response::new(AuthRoleAddResponse { header }))
    }

    async fn role_delete(
        &self,
        request: Request<AuthRoleDeleteRequest>,
    ) -> Result<Response<AuthRoleDeleteResponse>, Status> {
        let caller = self.ready(&request)?;
        let (_, header) = self.change_auth(caller, Command::RoleDelete(request.into_inner())).await?;
        Ok(Response::new(AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<AuthRoleGrantPermissionResponse>, Status> {
        let caller = self.ready(&request)?;
        let (_, header) =
            self.change_auth(caller, Command::RoleGrantPermission(request.into_inner())).await?;
        Ok(Response::new(AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<AuthRoleRevokePermissionResponse>, Status> {
        let caller = self.ready(&request)?;
        let (_, header) =
            self.change_auth(caller, Command::RoleRevokePermission(request.into_inner())).await?;
        Ok(Response::new(AuthRoleRevokePermissionResponse { header }))
    }
}
