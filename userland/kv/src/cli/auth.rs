//! `auth`, `user`, `role`.

use std::io::Write;

use tonic::{Response, Status};

use super::client::{Client, Failure};
use super::keys::span;
use crate::proto::auth_client::AuthClient;
use crate::proto::permission::Type;
use crate::proto::*;

/// Asks for a password on the terminal, or takes a line of the standard input.
pub(super) fn ask_password(prompt: &str) -> Result<String, Failure> {
    eprint!("{prompt}");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Prints an answer that says no more than that it was done.
fn done<T: prost::Message>(
    client: &Client,
    name: &str,
    answer: Result<Response<T>, Status>,
    text: &str,
) -> Result<(), Failure> {
    let answer = answer?.into_inner();
    client.printer.print(name, &answer, |out| drop(writeln!(out, "{text}")));
    Ok(())
}

/// Prints names, a line each.
fn names<T: prost::Message>(client: &Client, name: &str, answer: &T, all: &[String]) {
    client.printer.print(name, answer, |out| all.iter().for_each(|name| drop(writeln!(out, "{name}"))));
}

#[derive(clap::Subcommand)]
pub(crate) enum Auth {
    /// Requests are checked from now on
    Enable,
    /// No more
    Disable,
    /// Whether they are
    Status,
}

impl Auth {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut auth = AuthClient::new(client.channel.clone());
        match self {
            Auth::Enable => {
                if let Err(status) = auth.auth_enable(client.request(AuthEnableRequest {})).await {
                    if !status.message().contains("does not have root role") {
                        return Err(status.into());
                    }
                    // As etcdctl does: root gets its role, which is made if need be.
                    let _ = auth.role_add(client.request(AuthRoleAddRequest { name: "root".into() })).await;
                    let grant = AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
                    auth.user_grant_role(client.request(grant)).await?;
                    auth.auth_enable(client.request(AuthEnableRequest {})).await?;
                }
                println!("Authentication Enabled");
            }
            Auth::Disable => {
                let answer = auth.auth_disable(client.request(AuthDisableRequest {})).await;
                done(client, "AuthDisableResponse", answer, "Authentication Disabled")?;
            }
            Auth::Status => {
                let answer = auth.auth_status(client.request(AuthStatusRequest {})).await?.into_inner();
                println!("Authentication Status: {}\nAuthRevision: {}", answer.enabled, answer.auth_revision);
            }
        }
        Ok(())
    }
}

#[derive(clap::Subcommand)]
pub(crate) enum User {
    /// Adds one: NAME or NAME:PASSWORD
    Add {
        name: String,
        /// It logs in by certificate only
        #[arg(long)]
        no_password: bool,
        #[arg(long)]
        new_user_password: Option<String>,
    },
    Delete {
        name: String,
    },
    Get {
        name: String,
        /// With what its roles may
        #[arg(long)]
        detail: bool,
    },
    List,
    /// Changes the password, read from the standard input
    Passwd {
        name: String,
    },
    GrantRole {
        name: String,
        role: String,
    },
    RevokeRole {
        name: String,
        role: String,
    },
}

impl User {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut auth = AuthClient::new(client.channel.clone());
        match self {
            User::Add { name, no_password, new_user_password } => {
                let (name, password) = match (name.split_once(':'), new_user_password) {
                    _ if no_password => (name.clone(), String::new()),
                    (_, Some(password)) => (name.clone(), password),
                    (Some((name, password)), None) => (name.to_owned(), password.to_owned()),
                    (None, None) => (name.clone(), ask_password(&format!("Password of {name}: "))?),
                };
                let options = Some(UserAddOptions { no_password });
                let request = AuthUserAddRequest {
                    name: name.clone(),
                    password,
                    options,
                    hashed_password: String::new(),
                };
                let answer = auth.user_add(client.request(request)).await;
                done(client, "AuthUserAddResponse", answer, &format!("User {name} created"))?;
            }
            User::Delete { name } => {
                let request = client.request(AuthUserDeleteRequest { name: name.clone() });
                let answer = auth.user_delete(request).await;
                done(client, "AuthUserDeleteResponse", answer, &format!("User {name} deleted"))?;
            }
            User::Get { name, detail } => {
                let request = client.request(AuthUserGetRequest { name: name.clone() });
                let answer = auth.user_get(request).await?.into_inner();
                if detail {
                    println!("User: {name}");
                    for role in answer.roles {
                        let request = client.request(AuthRoleGetRequest { role: role.clone() });
                        let answer = auth.role_get(request).await?.into_inner();
                        println!();
                        print_role(&mut std::io::stdout().lock(), &role, &answer.perm);
                    }
                    return Ok(());
                }
                client.printer.print("AuthUserGetResponse", &answer, |out| {
                    let roles: String = answer.roles.iter().map(|role| format!(" {role}")).collect();
                    let _ = writeln!(out, "User: {name}\nRoles:{roles}");
                });
            }
            User::List => {
                let answer = auth.user_list(client.request(AuthUserListRequest {})).await?.into_inner();
                names(client, "AuthUserListResponse", &answer, &answer.users);
            }
            User::Passwd { name } => {
                let password = ask_password(&format!("Password of {name}: "))?;
                let request =
                    AuthUserChangePasswordRequest { name, password, hashed_password: String::new() };
                let answer = auth.user_change_password(client.request(request)).await;
                done(client, "AuthUserChangePasswordResponse", answer, "Password updated")?;
            }
            User::GrantRole { name, role } => {
                let request = AuthUserGrantRoleRequest { user: name.clone(), role: role.clone() };
                let answer = auth.user_grant_role(client.request(request)).await;
                let text = format!("Role {role} is granted to user {name}");
                done(client, "AuthUserGrantRoleResponse", answer, &text)?;
            }
            User::RevokeRole { name, role } => {
                let request = AuthUserRevokeRoleRequest { name: name.clone(), role: role.clone() };
                let answer = auth.user_revoke_role(client.request(request)).await;
                let text = format!("Role {role} is revoked from user {name}");
                done(client, "AuthUserRevokeRoleResponse", answer, &text)?;
            }
        }
        Ok(())
    }
}

#[derive(clap::Subcommand)]
pub(crate) enum Role {
    Add {
        name: String,
    },
    Delete {
        name: String,
    },
    Get {
        name: String,
    },
    List,
    /// Lets a role read, write or readwrite keys
    GrantPermission {
        name: String,
        permission: String,
        key: String,
        range_end: Option<String>,
        #[arg(long)]
        prefix: bool,
        #[arg(long)]
        from_key: bool,
    },
    RevokePermission {
        name: String,
        key: String,
        range_end: Option<String>,
        #[arg(long)]
        prefix: bool,
        #[arg(long)]
        from_key: bool,
    },
}

impl Role {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut auth = AuthClient::new(client.channel.clone());
        match self {
            Role::Add { name } => {
                let answer = auth.role_add(client.request(AuthRoleAddRequest { name: name.clone() })).await;
                done(client, "AuthRoleAddResponse", answer, &format!("Role {name} created"))?;
            }
            Role::Delete { name } => {
                let request = client.request(AuthRoleDeleteRequest { role: name.clone() });
                let answer = auth.role_delete(request).await;
                done(client, "AuthRoleDeleteResponse", answer, &format!("Role {name} deleted"))?;
            }
            Role::Get { name } => {
                let request = client.request(AuthRoleGetRequest { role: name.clone() });
                let answer = auth.role_get(request).await?.into_inner();
                client
                    .printer
                    .print("AuthRoleGetResponse", &answer, |out| print_role(out, &name, &answer.perm));
            }
            Role::List => {
                let answer = auth.role_list(client.request(AuthRoleListRequest {})).await?.into_inner();
                names(client, "AuthRoleListResponse", &answer, &answer.roles);
            }
            Role::GrantPermission { name, permission, key, range_end, prefix, from_key } => {
                let perm_type = match permission.to_lowercase().as_str() {
                    "read" => Type::Read,
                    "write" => Type::Write,
                    "readwrite" => Type::Readwrite,
                    other => return Err(Failure::Usage(format!("invalid permission type: {other}"))),
                };
                let (key, range_end) = span(&key, range_end.as_deref(), prefix, from_key)?;
                let perm = Some(Permission { perm_type: perm_type.into(), key, range_end });
                let request = AuthRoleGrantPermissionRequest { name: name.clone(), perm };
                let answer = auth.role_grant_permission(client.request(request)).await;
                done(client, "AuthRoleGrantPermissionResponse", answer, &format!("Role {name} updated"))?;
            }
            Role::RevokePermission { name, key, range_end, prefix, from_key } => {
                let (key, range_end) = span(&key, range_end.as_deref(), prefix, from_key)?;
                let (from, to) = (String::from_utf8_lossy(&key), String::from_utf8_lossy(&range_end));
                let what = match to.as_ref() {
                    "" => format!("key {from}"),
                    "\0" => format!("range [{from}, <open ended>"),
                    to => format!("range [{from}, {to})"),
                };
                let text = format!("Permission of {what} is revoked from role {name}");
                let request = AuthRoleRevokePermissionRequest { role: name.clone(), key, range_end };
                let answer = auth.role_revoke_permission(client.request(request)).await;
                done(client, "AuthRoleRevokePermissionResponse", answer, &text)?;
            }
        }
        Ok(())
    }
}

fn print_role(out: &mut dyn Write, name: &str, permissions: &[Permission]) {
    let _ = writeln!(out, "Role {name}");
    for (title, other) in [("KV Read:", Type::Read), ("KV Write:", Type::Write)] {
        let _ = writeln!(out, "{title}");
        for permission in permissions {
            if permission.perm_type() != Type::Readwrite && permission.perm_type() != other {
                continue;
            }
            let key = String::from_utf8_lossy(&permission.key);
            let _ = match permission.range_end.as_ref() {
                [] => writeln!(out, "\t{key}"),
                [0] => writeln!(out, "\t[{key}, <open ended>"),
                end => {
                    let whole = crate::span::prefix_end(&permission.key) == end;
                    let prefix = if whole { format!(" (prefix {key})") } else { String::new() };
                    writeln!(out, "\t[{key}, {}){prefix}", String::from_utf8_lossy(end))
                }
            };
        }
    }
}
