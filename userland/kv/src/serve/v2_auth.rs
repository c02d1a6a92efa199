//! `/v2/auth`: users, roles and whether they count, kept in the v2 keyspace where no client's path leads; and what a
//! request of the v2 API may.
//!
//! Source: etcd 2.3, Documentation/auth_api.md; etcd 3.4, etcdserver/api/v2http and v2auth.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::auth::hash;
use super::http::{body, text};
use super::v2::{FORM_MAX, v2_members_error};
use super::v2_users::{GUEST, Permissions, ROOT, Refusal, Role, User, bad, is_empty, parse, refuse};
use super::{AnyBody, Api, Peer};
use crate::form;
use crate::node::wall_clock;
use crate::password;
use crate::proto::internal::command::Request as Command;
use crate::proto::internal::{V2Request, v2_request};
use crate::state::Reply;
use crate::state::auth::Caller;
use crate::state::v2::{SECURITY, V2Error};

/// Who asks, as far as he says so himself.
pub struct Asker {
    /// Name and password.
    login: Option<(String, String)>,
    /// Whether something was said that should have been name and password.
    claims: bool,
    /// The name in a certificate that was checked.
    certified: Option<String>,
}

impl Asker {
    /// As the head of a request and the connection tell.
    pub fn of(headers: &HeaderMap, peer: &Peer) -> Asker {
        let said = headers.get(AUTHORIZATION).filter(|value| !value.is_empty());
        let login = said
            .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
            .and_then(|code| String::from_utf8(BASE64.decode(code.trim()).ok()?).ok())
            .and_then(|both| both.split_once(':').map(|(name, word)| (name.to_owned(), word.to_owned())));
        Asker { login, claims: said.is_some(), certified: peer.common_name.clone() }
    }
}

/// What a change of the keyspace below [`SECURITY`] came to.
enum Changed {
    Done,
    Exists,
    Missing,
}

fn ok(json: &impl Serialize) -> Response<AnyBody> {
    with_status(StatusCode::OK, json)
}

fn with_status(status: StatusCode, json: &impl Serialize) -> Response<AnyBody> {
    let json = serde_json::to_string(json).unwrap_or_default();
    text(status, "application/json", format!("{json}\n"))
}

fn done() -> Response<AnyBody> {
    text(StatusCode::OK, "application/json", "")
}

impl Api {
    /// Answers what is asked of users and roles.
    pub(super) async fn v2_auth(
        &self,
        path: &str,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Response<AnyBody> {
        let parts: Vec<String> = path.split('/').map(|part| form::decode(part, false)).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        let method = request.method().clone();
        let asker = Asker::of(request.headers(), peer);
        let allowed: &[Method] = match parts.as_slice() {
            ["enable"] | ["users" | "roles", _] => &[Method::GET, Method::PUT, Method::DELETE],
            ["users" | "roles"] => &[Method::GET],
            ["users" | "roles", ..] => return v2_members_error(StatusCode::BAD_REQUEST, "Invalid path"),
            _ => return text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
        };
        if !allowed.contains(&method) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "Method Not Allowed\n");
        }
        let is_open = parts == ["enable"] && method == Method::GET;
        if !is_open && !self.v2_is_root(&asker).await {
            return unauthorized();
        }
        let sent = match body(request, FORM_MAX).await {
            Ok(sent) => sent,
            Err(response) => return response,
        };
        let answer = match (parts.as_slice(), method) {
            (["enable"], Method::GET) => Ok(ok(&json!({ "enabled": self.v2_auth_is_on() }))),
            (["enable"], Method::PUT) => self.v2_enable_auth().await,
            (["enable"], _) => self.v2_disable_auth().await,
            (["users"], _) => Ok(ok(&json!({ "users": self.v2_all_users() }))),
            (["users", name], Method::GET) => self.v2_show_user(name),
            (["users", name], Method::PUT) => self.v2_put_user(name, &sent).await,
            (["users", name], _) => self.v2_delete_user(name).await,
            (["roles"], _) => self.v2_all_roles(),
            (["roles", name], Method::GET) => self.v2_role(name).map(|role| ok(&role)),
            (["roles", name], Method::PUT) => self.v2_put_role(name, &sent).await,
            (["roles", name], _) => self.v2_delete_role(name).await,
            _ => Err(Refusal(StatusCode::NOT_FOUND, "404 page not found".into())),
        };
        answer.unwrap_or_else(|Refusal(status, message)| v2_members_error(status, &message))
    }

    /// Whether who asks has the role root, or need not have it.
    pub(super) async fn v2_is_root(&self, asker: &Asker) -> bool {
        if !self.v2_auth_is_on() {
            return true;
        }
        let user = self.v2_user_of(asker).await;
        user.is_some_and(|user| user.roles.iter().flatten().any(|role| role == ROOT))
    }

    /// Whether who asks may read or write a key, or all that is below it.
    ///
    /// # Errors
    /// 110 where not.
    pub(super) async fn v2_check(
        &self,
        asker: &Asker,
        key: &str,
        write: bool,
        recursive: bool,
    ) -> Result<(), V2Error> {
        if !self.v2_auth_is_on() {
            return Ok(());
        }
        let user = self.v2_user_of(asker).await;
        let allows =
            |name: &str, recursive| self.v2_role(name).is_ok_and(|role| role.allows(key, write, recursive));
        let may = match user {
            Some(user) => user.roles.iter().flatten().any(|role| allows(role, recursive)),
            // Who does not say who he is may what guests may, and for them there is no difference.
            None if !asker.claims => allows(GUEST, false),
            None => false,
        };
        let cause = "Insufficient credentials".into();
        if may { Ok(()) } else { Err(V2Error { code: 110, cause, index: 0 }) }
    }

    /// The user that who asks has proved to be.
    async fn v2_user_of(&self, asker: &Asker) -> Option<User> {
        if !asker.claims {
            return self.v2_user(asker.certified.as_deref()?).ok();
        }
        let (name, word) = asker.login.clone()?;
        let user = self.v2_user(&name).ok()?;
        let kept = user.password.clone();
        let matches = tokio::task::spawn_blocking(move || password::verify(&word, &kept)).await;
        matches.unwrap_or(false).then_some(user)
    }

    fn v2_auth_is_on(&self) -> bool {
        self.v2_kept("enabled").is_some_and(|kept| kept == "true")
    }

    fn v2_kept(&self, place: &str) -> Option<String> {
        let state = self.node.state.read();
        state.v2.get(&format!("{SECURITY}/{place}"), false).ok()?.node.value
    }

    /// Names of what is kept in a place, in order.
    fn v2_names(&self, place: &str) -> Vec<String> {
        let prefix = format!("{SECURITY}/{place}");
        let found = self.node.state.read().v2.get(&prefix, false);
        let nodes = found.map(|event| event.node.nodes).unwrap_or_default();
        let mut names: Vec<String> =
            nodes.iter().filter_map(|node| node.key.rsplit('/').next().map(str::to_owned)).collect();
        names.sort();
        names
    }

    fn v2_user(&self, name: &str) -> Result<User, Refusal> {
        let kept = self.v2_kept(&format!("users/{name}"));
        kept.and_then(|kept| serde_json::from_str::<User>(&kept).ok())
            .map(User::with_root)
            .ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("User {name} does not exist.")))
    }

    fn v2_role(&self, name: &str) -> Result<Role, Refusal> {
        if name == ROOT {
            return Ok(Role::of_all(ROOT));
        }
        let kept = self.v2_kept(&format!("roles/{name}"));
        kept.and_then(|kept| serde_json::from_str(&kept).ok())
            .ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("Role {name} does not exist.")))
    }

    fn v2_all_roles(&self) -> Result<Response<AnyBody>, Refusal> {
        let mut names = self.v2_names("roles");
        names.push(ROOT.into());
        names.sort();
        let roles = names.iter().map(|name| self.v2_role(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(ok(&Roles { roles }))
    }

    fn v2_all_users(&self) -> Value {
        let users: Vec<_> = self
            .v2_names("users")
            .iter()
            .filter_map(|name| self.v2_user(name).ok())
            .map(|user| {
                let roles = user.roles.iter().flatten().filter_map(|role| self.v2_role(role).ok()).collect();
                shown(&user, roles)
            })
            .collect();
        if users.is_empty() { Value::Null } else { users.into() }
    }

    fn v2_show_user(&self, name: &str) -> Result<Response<AnyBody>, Refusal> {
        let user = self.v2_user(name)?;
        let roles: Result<Vec<Role>, Refusal> =
            user.roles.iter().flatten().map(|role| self.v2_role(role)).collect();
        Ok(ok(&shown(&user, roles?)))
    }

    async fn v2_put_user(&self, name: &str, sent: &[u8]) -> Result<Response<AnyBody>, Refusal> {
        let asked: User = parse(sent)?;
        if asked.user != name {
            return Err(bad("User JSON name does not match the name in the URL"));
        }
        let changes = !is_empty(&asked.grant) || !is_empty(&asked.revoke);
        if changes && !is_empty(&asked.roles) {
            return Err(bad("User JSON contains both roles and grant/revoke"));
        }
        let exists = self.v2_user(name).is_ok();
        let creates = !changes && (!is_empty(&asked.roles) || !exists);
        let is_new = creates && is_empty(&asked.roles);
        let user =
            if creates { self.v2_create_user(asked).await? } else { self.v2_update_user(&asked).await? };
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok(with_status(status, &User { password: String::new(), ..user }))
    }

    async fn v2_create_user(&self, asked: User) -> Result<User, Refusal> {
        let name = asked.user.clone();
        if asked.password.is_empty() {
            let text = format!("Cannot create user {name} with an empty password");
            return Err(refuse(StatusCode::BAD_REQUEST, text));
        }
        let password = hashed(&asked.password).await?;
        let user = User { password, ..asked }.with_root();
        match self.v2_write(&format!("users/{name}"), &user, false).await? {
            Changed::Done => Ok(user),
            _ => Err(refuse(StatusCode::CONFLICT, format!("User {name} already exists."))),
        }
    }

    async fn v2_update_user(&self, asked: &User) -> Result<User, Refusal> {
        let old = self.v2_user(&asked.user)?;
        let password = match asked.password.as_str() {
            "" => None,
            word => Some(hashed(word).await?),
        };
        let new = old.merge(asked, password)?;
        if new == old {
            let text = "User not updated. Use grant/revoke/password to update the user.";
            return Err(refuse(StatusCode::BAD_REQUEST, text));
        }
        self.v2_write(&format!("users/{}", asked.user), &new, true).await?;
        Ok(new)
    }

    async fn v2_delete_user(&self, name: &str) -> Result<Response<AnyBody>, Refusal> {
        if name == ROOT && self.v2_auth_is_on() {
            let text = "Cannot delete root user while auth is enabled.";
            return Err(refuse(StatusCode::FORBIDDEN, text));
        }
        match self.v2_remove(&format!("users/{name}")).await? {
            Changed::Missing => Err(refuse(StatusCode::NOT_FOUND, format!("User {name} does not exist"))),
            _ => Ok(done()),
        }
    }

    async fn v2_put_role(&self, name: &str, sent: &[u8]) -> Result<Response<AnyBody>, Refusal> {
        let asked: Role = parse(sent)?;
        if asked.role != name {
            return Err(bad("Role JSON name does not match the name in the URL"));
        }
        if asked.is_change() && asked.permissions != Permissions::default() && !asked.permissions.is_empty() {
            return Err(bad("Role JSON contains both permissions and grant/revoke"));
        }
        check_not_root(name)?;
        if !asked.is_change() {
            self.v2_create_role(&asked).await?;
            return Ok(with_status(StatusCode::CREATED, &asked));
        }
        let old = self.v2_role(name)?;
        let new = old.merge(&asked)?;
        if new == old {
            let text = "Role not updated. Use grant/revoke to update the role.";
            return Err(refuse(StatusCode::BAD_REQUEST, text));
        }
        self.v2_write(&format!("roles/{name}"), &new, true).await?;
        Ok(ok(&new))
    }

    async fn v2_create_role(&self, role: &Role) -> Result<(), Refusal> {
        match self.v2_write(&format!("roles/{}", role.role), role, false).await? {
            Changed::Done => Ok(()),
            _ => Err(refuse(StatusCode::CONFLICT, format!("Role {} already exists.", role.role))),
        }
    }

    async fn v2_delete_role(&self, name: &str) -> Result<Response<AnyBody>, Refusal> {
        check_not_root(name)?;
        match self.v2_remove(&format!("roles/{name}")).await? {
            Changed::Missing => Err(refuse(StatusCode::NOT_FOUND, format!("Role {name} doesn't exist."))),
            _ => Ok(done()),
        }
    }

    async fn v2_enable_auth(&self) -> Result<Response<AnyBody>, Refusal> {
        let conflict = |text: &str| refuse(StatusCode::CONFLICT, text);
        if self.v2_auth_is_on() {
            return Err(conflict("already enabled"));
        }
        self.v2_user(ROOT).map_err(|_| conflict("No root user available, please create one"))?;
        if self.v2_role(GUEST).is_err() {
            self.v2_create_role(&Role::of_all(GUEST)).await?;
        }
        self.v2_write("enabled", &true, true).await?;
        Ok(done())
    }

    async fn v2_disable_auth(&self) -> Result<Response<AnyBody>, Refusal> {
        if !self.v2_auth_is_on() {
            return Err(refuse(StatusCode::CONFLICT, "already disabled"));
        }
        self.v2_write("enabled", &false, true).await?;
        Ok(done())
    }

    /// Makes the places that all of this lies in, once.
    async fn v2_prepare(&self) -> Result<(), Refusal> {
        if self.v2_kept("enabled").is_some() {
            return Ok(());
        }
        for place in ["", "/users", "/roles"] {
            let path = format!("{SECURITY}{place}");
            self.v2_propose(V2Request { path, dir: true, prev_exist: 1, ..V2Request::default() }).await?;
        }
        let (path, value) = (format!("{SECURITY}/enabled"), "false".into());
        self.v2_propose(V2Request { path, value, prev_exist: 1, ..V2Request::default() }).await?;
        Ok(())
    }

    async fn v2_write(&self, place: &str, value: &impl Serialize, exists: bool) -> Result<Changed, Refusal> {
        self.v2_prepare().await?;
        let path = format!("{SECURITY}/{place}");
        let value = serde_json::to_string(value).unwrap_or_default();
        let prev_exist = if exists { 2 } else { 1 };
        self.v2_propose(V2Request { path, value, prev_exist, ..V2Request::default() }).await
    }

    async fn v2_remove(&self, place: &str) -> Result<Changed, Refusal> {
        self.v2_prepare().await?;
        let (path, method) = (format!("{SECURITY}/{place}"), v2_request::Method::Delete.into());
        self.v2_propose(V2Request { path, method, ..V2Request::default() }).await
    }

    async fn v2_propose(&self, request: V2Request) -> Result<Changed, Refusal> {
        let request = V2Request { now: wall_clock(), ..request };
        let failed = |text: String| Refusal(StatusCode::INTERNAL_SERVER_ERROR, text);
        match self.node.propose(Caller::default(), Command::V2(request)).await {
            Ok((Reply::V2(Ok(_)), _)) => Ok(Changed::Done),
            Ok((Reply::V2(Err(error)), _)) if error.code == 105 => Ok(Changed::Exists),
            Ok((Reply::V2(Err(error)), _)) if error.code == 100 => Ok(Changed::Missing),
            Ok((Reply::V2(Err(error)), _)) => Err(failed(error.message().into())),
            Ok(_) => Err(failed("Internal Server Error".into())),
            Err(fault) => Err(failed(fault.to_string())),
        }
    }
}

#[derive(Serialize)]
struct Roles {
    roles: Vec<Role>,
}

/// A user with all that its roles are.
fn shown(user: &User, roles: Vec<Role>) -> Value {
    if roles.is_empty() { json!({ "user": user.user }) } else { json!({ "user": user.user, "roles": roles }) }
}

fn check_not_root(name: &str) -> Result<(), Refusal> {
    let text = format!("Cannot modify role {name}: is root role.");
    if name == ROOT { Err(refuse(StatusCode::FORBIDDEN, text)) } else { Ok(()) }
}

async fn hashed(word: &str) -> Result<String, Refusal> {
    let failed = |_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error".into());
    hash(word.to_owned()).await.map_err(failed)
}

/// To who may not.
pub(super) fn unauthorized() -> Response<AnyBody> {
    v2_members_error(StatusCode::UNAUTHORIZED, "Insufficient credentials")
}
