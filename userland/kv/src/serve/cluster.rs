//! The service Cluster: who the members are.

use tonic::{Request, Response, Status};

use super::Api;
use crate::fault::Fault;
use crate::identity;
use crate::node::wall_clock;
use crate::proto::cluster_server::Cluster;
use crate::proto::internal::MembershipChange;
use crate::proto::internal::membership_change::Kind;
use crate::proto::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest,
    MemberUpdateResponse, ResponseHeader,
};

impl Api {
    /// Answers about members carry no revision.
    fn member_header(&self) -> Option<ResponseHeader> {
        Some(self.node.header_at(0))
    }

    pub(super) fn members(&self) -> Vec<Member> {
        self.node.state.read().members.iter().cloned().collect()
    }

    async fn change(&self, kind: Kind, member: Member) -> Result<(), Fault> {
        let change = MembershipChange { id: 0, kind: kind.into(), member: Some(member) };
        self.node.linearize().await?;
        self.node.state.read().members.check(&change)?;
        self.node.change_membership(change).await?;
        Ok(())
    }

    /// Whether enough of the voters have started, with the one that `change` adds or without the one it removes.
    fn check_started(&self, adding: bool, removed: Option<u64>) -> Result<(), Fault> {
        if !self.manners.strict_reconfig {
            return Ok(());
        }
        let state = self.node.state.read();
        let voters: Vec<&Member> =
            state.members.iter().filter(|member| !member.is_learner && Some(member.id) != removed).collect();
        let started = voters.iter().filter(|member| !member.name.is_empty()).count();
        if adding && voters.len() == 1 && started == 1 {
            return Ok(());
        }
        let quorum = (voters.len() + usize::from(adding)) / 2 + 1;
        if started < quorum { Err(Fault::NotEnoughStarted) } else { Ok(()) }
    }

    pub(super) async fn add_member(&self, urls: &[String], is_learner: bool) -> Result<Member, Fault> {
        let urls = identity::clean_urls(urls).ok_or(Fault::BadMemberUrls)?;
        if !is_learner {
            self.check_started(true, None)?;
        }
        let id = identity::member_id(&urls, &self.manners.token, Some(wall_clock() / 1000));
        let member = Member { id, peer_ur_ls: urls, is_learner, ..Member::default() };
        self.change(if is_learner { Kind::AddLearner } else { Kind::Add }, member.clone()).await?;
        Ok(member)
    }

    pub(super) async fn remove_member(&self, id: u64) -> Result<(), Fault> {
        let voter = self.node.state.read().members.get(id).is_some_and(|member| !member.is_learner);
        if voter {
            self.check_started(false, Some(id))?;
        }
        self.change(Kind::Remove, Member { id, ..Member::default() }).await
    }

    pub(super) async fn update_member(&self, id: u64, urls: &[String]) -> Result<(), Fault> {
        let peer_ur_ls = identity::clean_urls(urls).ok_or(Fault::BadMemberUrls)?;
        self.change(Kind::Update, Member { id, peer_ur_ls, ..Member::default() }).await
    }

    /// Promotes a learner that has almost all of the leader's log; only the leader knows that.
    async fn promote(&self, id: u64) -> Result<(), Fault> {
        let standing = self.node.standing.borrow().clone();
        if self.node.state.read().members.get(id).is_none() {
            return Err(Fault::MemberNotFound);
        }
        if standing.leader != self.node.setup.member_id {
            return Err(Fault::NotLeader);
        }
        if self.node.state.read().members.get(id).is_some_and(|member| !member.is_learner) {
            return Err(Fault::NotLearner);
        }
        let matched =
            standing.matched.iter().find(|(member, _)| *member == id).map_or(0, |(_, matched)| *matched);
        if matched.saturating_mul(10) < standing.committed.saturating_mul(9) {
            return Err(Fault::LearnerNotReady);
        }
        self.check_started(true, None)?;
        self.change(Kind::Promote, Member { id, ..Member::default() }).await
    }
}

#[tonic::async_trait]
impl Cluster for Api {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        self.ready(&request)?;
        let request = request.into_inner();
        let member = self.add_member(&request.peer_ur_ls, request.is_learner).await?;
        let (header, members) = (self.member_header(), self.members());
        Ok(Response::new(MemberAddResponse { header, member: Some(member), members }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.ready(&request)?;
        self.remove_member(request.into_inner().id).await?;
        Ok(Response::new(MemberRemoveResponse { header: self.member_header(), members: self.members() }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        self.ready(&request)?;
        let request = request.into_inner();
        self.update_member(request.id, &request.peer_ur_ls).await?;
        Ok(Response::new(MemberUpdateResponse { header: self.member_header(), members: self.members() }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        self.ready(&request)?;
        if request.into_inner().linearizable {
            self.node.linearize().await?;
        }
        Ok(Response::new(MemberListResponse { header: self.member_header(), members: self.members() }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.ready(&request)?;
        self.promote(request.into_inner().id).await?;
        Ok(Response::new(MemberPromoteResponse { header: self.member_header(), members: self.members() }))
    }
}
