//! `lock` and `elect`.

use std::process::{Command, ExitCode};

use tokio_stream::StreamExt;

use super::client::{Client, Failure};
use super::lease::hold;
use crate::proto::LeaseRevokeRequest;
use crate::proto::election::election_client::ElectionClient;
use crate::proto::election::{CampaignRequest, LeaderRequest};
use crate::proto::lease_client::LeaseClient;
use crate::proto::lock::LockRequest;
use crate::proto::lock::lock_client::LockClient;

#[derive(clap::Args)]
pub(crate) struct Lock {
    name: String,
    /// What to run while the lock is held
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Seconds after which a holder that died loses it
    #[arg(long, default_value_t = 10)]
    ttl: i64,
}

impl Lock {
    pub async fn run(self, client: &Client) -> Result<ExitCode, Failure> {
        let (lease, renewing) = hold(client, self.ttl).await?;
        let request = client.stream(LockRequest { name: self.name.into_bytes().into(), lease });
        let mut locks = LockClient::new(client.channel.clone());
        let key = tokio::select! {
            answer = locks.lock(request) => answer?.into_inner().key,
            ended = crate::server::until_told() => {
                ended?;
                release(client, lease).await?;
                return Ok(ExitCode::FAILURE);
            }
        };
        let code = match self.command.split_first() {
            None => {
                println!("{}", String::from_utf8_lossy(&key));
                crate::server::until_told().await?;
                ExitCode::SUCCESS
            }
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args).env("ETCD_LOCK_KEY", String::from_utf8_lossy(&key).as_ref());
                let status = tokio::process::Command::from(command).status().await?;
                ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
            }
        };
        renewing.abort();
        release(client, lease).await?;
        Ok(code)
    }
}

/// Ending the lease ends what was held by it.
async fn release(client: &Client, id: i64) -> Result<(), Failure> {
    let mut leases = LeaseClient::new(client.channel.clone());
    leases.lease_revoke(client.request(LeaseRevokeRequest { id })).await?;
    Ok(())
}

#[derive(clap::Args)]
pub(crate) struct Elect {
    name: String,
    proposal: Option<String>,
    /// Only watch who leads
    #[arg(short, long)]
    listen: bool,
}

impl Elect {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut elections = ElectionClient::new(client.channel.clone());
        let name = bytes::Bytes::from(self.name.into_bytes());
        if self.listen || self.proposal.is_none() {
            let mut leaders = elections.observe(client.stream(LeaderRequest { name })).await?.into_inner();
            while let Some(leader) = leaders.next().await {
                if let Some(kv) = leader?.kv {
                    client.printer.pair(&mut std::io::stdout().lock(), &kv);
                }
            }
            return Ok(());
        }
        let (lease, renewing) = hold(client, 60).await?;
        let value = self.proposal.unwrap_or_default().into_bytes().into();
        let campaign = CampaignRequest { name, lease, value };
        let value: bytes::Bytes = campaign.value.clone();
        tokio::select! {
            answer = elections.campaign(client.stream(campaign)) => {
                let leader = answer?.into_inner().leader.unwrap_or_default();
                println!("{}\n{}", String::from_utf8_lossy(&leader.key), String::from_utf8_lossy(&value));
                crate::server::until_told().await?;
            }
            ended = crate::server::until_told() => ended?,
        }
        renewing.abort();
        release(client, lease).await
    }
}
