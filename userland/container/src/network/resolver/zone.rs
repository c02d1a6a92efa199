//! What a resolver knows itself: the containers on its container's networks. Pure, but for [`Zone::of`].

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::super::{Attachment, DEFAULT, Definition, Networks};

/// Seconds that an answer may be kept: containers come and go.
const LIFE: u32 = 5;
/// A datagram's size where the question does not say more, RFC 1035 4.2.1.
const SMALLEST: u16 = 512;

/// The containers on some networks.
#[derive(Debug, Default)]
pub struct Zone {
    hosts: Vec<Host>,
    /// Whether there is a way out, and so to other name servers.
    leads_out: bool,
}

#[derive(Debug)]
struct Host {
    names: Vec<String>,
    network: String,
    address: Ipv4Addr,
}

/// What is to be done with a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This is the answer.
    Answer(Vec<u8>),
    /// Other name servers know.
    PassOn,
    /// It is no question.
    Nothing,
}

impl Zone {
    /// Whom a container can know now. What cannot be read knows nobody.
    pub fn of(networks: &Networks, container: &str, alive: &dyn Fn(&str) -> bool) -> Self {
        let attachments = networks.attachments(alive).unwrap_or_default();
        Self::new(container, &networks.list().unwrap_or_default(), &attachments)
    }

    fn new(container: &str, networks: &[Definition], attachments: &[Attachment]) -> Self {
        let own: Vec<&Attachment> = attachments.iter().filter(|one| one.container == container).collect();
        let mut zone = Self { hosts: Vec::new(), leads_out: own.iter().any(|one| one.gateway.is_some()) };
        for network in networks.iter().filter(|one| one.name != DEFAULT) {
            if !own.iter().any(|one| one.network == network.id) {
                continue;
            }
            let on_it = attachments.iter().filter(|one| one.network == network.id);
            zone.hosts.extend(on_it.map(|one| Host {
                names: one.aliases.iter().map(|name| name.to_ascii_lowercase()).collect(),
                network: network.name.to_ascii_lowercase(),
                address: one.address.addr(),
            }));
        }
        zone
    }

    /// Reads a question and answers it, if it is ours.
    pub fn judge(&self, question: &[u8], datagram: bool) -> Verdict {
        let Ok(message) = Message::from_vec(question) else {
            return refusal(question, ResponseCode::FormErr).map_or(Verdict::Nothing, Verdict::Answer);
        };
        if message.metadata.message_type != MessageType::Query {
            return Verdict::Nothing;
        }
        let [query] = message.queries.as_slice() else {
            return refusal(question, ResponseCode::FormErr).map_or(Verdict::Nothing, Verdict::Answer);
        };
        let own = (message.metadata.op_code == OpCode::Query && query.query_class() == DNSClass::IN)
            .then(|| self.records(query.name(), query.query_type()))
            .flatten();
        let mut records = match own {
            Some(records) => records,
            None if self.leads_out => return Verdict::PassOn,
            None => {
                return refusal(question, ResponseCode::ServFail).map_or(Verdict::Nothing, Verdict::Answer);
            }
        };
        // Of several containers of one alias each is somebody's first.
        if !records.is_empty() {
            let turn = usize::from(message.metadata.id) % records.len();
            records.rotate_left(turn);
        }
        let mut answer = response(&message, ResponseCode::NoError);
        answer.add_query(query.clone()).add_answers(records);
        let room = message.edns.as_ref().map_or(SMALLEST, |edns| edns.max_payload().max(SMALLEST));
        match answer.to_vec() {
            Ok(bytes) if datagram && bytes.len() > usize::from(room) => {
                answer.truncate().to_vec().map_or(Verdict::Nothing, Verdict::Answer)
            }
            Ok(bytes) => Verdict::Answer(bytes),
            Err(_) => Verdict::Nothing,
        }
    }

    /// What there is of this name and type; none if the name is nobody's here.
    fn records(&self, name: &Name, kind: RecordType) -> Option<Vec<Record>> {
        let text = name.to_ascii().to_ascii_lowercase();
        let text = text.strip_suffix('.').unwrap_or(&text);
        if text.ends_with(".in-addr.arpa") || text.ends_with(".ip6.arpa") {
            let asked = name.parse_arpa_name().ok()?;
            let host = self.hosts.iter().find(|host| {
                asked.addr() == IpAddr::from(host.address) && asked.prefix_len() == asked.max_prefix_len()
            })?;
            let target = Name::from_ascii(format!("{}.{}.", host.names.first()?, host.network)).ok()?;
            let is_asked = matches!(kind, RecordType::PTR | RecordType::ANY);
            let record = Record::from_rdata(name.clone(), LIFE, RData::PTR(PTR(target)));
            return Some(if is_asked { vec![record] } else { Vec::new() });
        }
        let is_it = |host: &&Host| {
            let plain = text.strip_suffix(&host.network).and_then(|rest| rest.strip_suffix('.'));
            host.names.iter().any(|name| name == text || Some(name.as_str()) == plain)
        };
        let hosts: Vec<&Host> = self.hosts.iter().filter(is_it).collect();
        if hosts.is_empty() {
            return None;
        }
        let of = |host: &Host| Record::from_rdata(name.clone(), LIFE, RData::A(A(host.address)));
        let is_asked = matches!(kind, RecordType::A | RecordType::ANY);
        Some(if is_asked { hosts.into_iter().map(of).collect() } else { Vec::new() })
    }
}

fn response(question: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = code;
    answer
}

/// The answer when no name server answers.
pub fn failure(question: &[u8]) -> Option<Vec<u8>> {
    refusal(question, ResponseCode::ServFail)
}

fn refusal(question: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let answer = match Message::from_vec(question) {
        Ok(message) => {
            let mut answer = response(&message, code);
            answer.add_queries(message.queries);
            answer
        }
        // What begins like a message has a number to answer to. An answer is not answered.
        Err(_) => match question {
            [first, second, flags, ..] if question.len() >= 12 && flags & 0x80 == 0 => {
                Message::error_msg(u16::from_be_bytes([*first, *second]), OpCode::Query, code)
            }
            _ => return None,
        },
    };
    answer.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;

    fn zone(containers: usize, internal: bool) -> Zone {
        let mut network = Definition::new("0123456789abcdef", "back", "10.9.0.0/16".parse().unwrap());
        network.internal = internal;
        let mut all = Vec::new();
        for number in 0..containers {
            let container = format!("c{number}");
            let request = super::super::super::Request {
                container: &container,
                network: "back",
                address: None,
                aliases: vec![container.clone(), "Many".to_owned()],
                publish: &[],
            };
            all.push(Attachment::new(&network, &request, &all, vec![]).unwrap());
        }
        Zone::new("c0", &[network], &all)
    }

    fn ask(zone: &Zone, name: &str, kind: RecordType) -> Option<Message> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        match zone.judge(&message.to_vec().unwrap(), true) {
            Verdict::Answer(bytes) => Some(Message::from_vec(&bytes).unwrap()),
            _ => None,
        }
    }

    #[test]
    fn names_of_the_network_are_answered_and_others_passed_on() {
        let zone = zone(3, false);
        let answer = ask(&zone, "C1.", RecordType::A).unwrap();
        assert_eq!(answer.answers[0].data, RData::A(A(Ipv4Addr::new(10, 9, 0, 3))));
        assert_eq!(ask(&zone, "c1.back.", RecordType::A).unwrap().answers.len(), 1);
        assert_eq!(ask(&zone, "many.", RecordType::A).unwrap().answers.len(), 3);
        // There, but without an address of that kind: not "no such name".
        let none = ask(&zone, "c1.", RecordType::AAAA).unwrap();
        assert!(none.answers.is_empty() && none.metadata.response_code == ResponseCode::NoError);
        let reverse = ask(&zone, "4.0.9.10.in-addr.arpa.", RecordType::PTR).unwrap();
        assert_eq!(reverse.answers[0].data, RData::PTR(PTR(Name::from_ascii("c2.back.").unwrap())));
        for other in ["c9.", "example.org.", "c1.front.", "9.9.9.10.in-addr.arpa.", "9.10.in-addr.arpa."] {
            assert_eq!(ask(&zone, other, RecordType::A), None, "{other}");
        }
    }

    #[test]
    fn without_a_way_out_nobody_else_is_asked() {
        let answer = ask(&zone(2, true), "example.org.", RecordType::A).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(ask(&zone(2, true), "c1.", RecordType::A).unwrap().answers.len(), 1);
    }

    #[test]
    fn an_answer_that_is_too_large_says_so() {
        let answer = ask(&zone(200, false), "many.", RecordType::A).unwrap();
        assert!(answer.metadata.truncation && answer.answers.is_empty());
    }

    #[test]
    fn answers_are_not_answered_and_what_is_cut_short_is_refused() {
        let zone = zone(1, false);
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii("c0.").unwrap(), RecordType::A));
        let bytes = message.to_vec().unwrap();
        let Verdict::Answer(short) = zone.judge(&bytes[..bytes.len() - 3], true) else { panic!() };
        assert_eq!(Message::from_vec(&short).unwrap().metadata.response_code, ResponseCode::FormErr);
        assert_eq!(zone.judge(&bytes[..5], true), Verdict::Nothing);
        let answer = zone.judge(&bytes, true);
        let Verdict::Answer(answer) = answer else { panic!() };
        assert_eq!(zone.judge(&answer, true), Verdict::Nothing);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_judged(bytes: Vec<u8>) {
            let _ = zone(2, false).judge(&bytes, true);
            let _ = failure(&bytes);
        }
    }
}
