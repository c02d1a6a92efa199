//! What a server answers.

use crate::element::{Element, Malformed, Unwritable};

/// A response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// The server's name for itself.
    pub server: String,
    /// An answer for each application.
    pub answers: Vec<Answer>,
}

/// The answer for an application.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Which one.
    pub app: String,
    /// `ok`, or why the application is not known.
    pub status: String,
    /// The machine's ping was heard.
    pub ping: bool,
    /// On the question for a release, if there was one.
    pub verdict: Option<Verdict>,
    /// So many events were heard.
    pub events: usize,
}

/// What the server says of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is one.
    Offer(Box<Offer>),
    /// There is none, or not now.
    None,
    /// The server cannot say, and why: `error-internal`…
    Error(String),
}

/// A release that is offered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer {
    /// Its version.
    pub version: String,
    /// Where its packages are: each ends where a package's name begins.
    pub urls: Vec<String>,
    /// The files; we use the first.
    pub packages: Vec<Package>,
    /// The SHA-256 of the first file, in base64.
    pub sha256: String,
    /// It is a difference.
    pub is_delta: bool,
    /// How often a URL may fail before the next is tried.
    pub failures_per_url: Option<u64>,
    /// A download that failed is tried again at once.
    pub no_backoff: bool,
    /// Ask again in so many seconds.
    pub poll_interval: Option<u64>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
}

impl Response {
    /// As XML.
    ///
    /// # Errors
    /// A text has a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, Unwritable> {
        Element::new("response")
            .with("protocol", "3.0")
            .with("server", &self.server)
            .holding(Element::new("daystart").with("elapsed_seconds", 0))
            .holding_all(self.answers.iter().map(Answer::element))
            .document()
    }

    /// Reads what a server answers.
    ///
    /// # Errors
    /// It is no response of Omaha 3.0, or offers a release without what is needed to take it.
    pub fn parse(text: &[u8]) -> Result<Response, Malformed> {
        let response = Element::parse(text, "response")?;
        match response.get("protocol") {
            Some("3.0") => {}
            other => return Err(response.wrong(format!("has protocol {other:?}, 3.0 is spoken here"))),
        }
        let answers = response.children("app").map(Answer::read).collect::<Result<_, _>>()?;
        Ok(Response { server: response.text("server"), answers })
    }
}

impl Answer {
    fn element(&self) -> Element {
        let ping = self.ping.then(|| Element::new("ping").with("status", "ok"));
        let event = || Element::new("event").with("status", "ok");
        Element::new("app")
            .with("appid", &self.app)
            .with("status", &self.status)
            .holding_all(ping.into_iter().chain(self.verdict.as_ref().map(Verdict::element)))
            .holding_all((0..self.events).map(|_| event()))
    }

    fn read(app: &Element) -> Result<Answer, Malformed> {
        Ok(Answer {
            app: app.required("appid")?,
            status: app.text("status"),
            ping: app.child("ping").is_some(),
            verdict: app.child("updatecheck").map(Verdict::read).transpose()?,
            events: app.children("event").count(),
        })
    }
}

impl Verdict {
    fn element(&self) -> Element {
        let check = Element::new("updatecheck");
        match self {
            Verdict::Offer(offer) => offer.element(check.with("status", "ok")),
            Verdict::None => check.with("status", "noupdate"),
            Verdict::Error(status) => check.with("status", status),
        }
    }

    fn read(check: &Element) -> Result<Verdict, Malformed> {
        match check.required("status")?.as_str() {
            "ok" => Offer::read(check).map(|offer| Verdict::Offer(Box::new(offer))),
            "noupdate" => Ok(Verdict::None),
            other => Ok(Verdict::Error(other.to_owned())),
        }
    }
}

impl Offer {
    fn element(&self, check: Element) -> Element {
        let urls = self.urls.iter().map(|url| Element::new("url").with("codebase", url));
        let packages = self.packages.iter().map(|package| {
            Element::new("package")
                .with("name", &package.name)
                .with("size", package.size)
                .with("required", true)
        });
        let action = Element::new("action")
            .with("event", "postinstall")
            .with("sha256", &self.sha256)
            .with("needsadmin", false)
            .with("IsDeltaPayload", self.is_delta)
            .with("DisablePayloadBackoff", self.no_backoff)
            .with_some("MaxFailureCountPerUrl", self.failures_per_url);
        let manifest = Element::new("manifest")
            .with("version", &self.version)
            .holding(Element::new("packages").holding_all(packages))
            .holding(Element::new("actions").holding(action));
        check
            .with_some("PollInterval", self.poll_interval)
            .holding(Element::new("urls").holding_all(urls))
            .holding(manifest)
    }

    fn read(check: &Element) -> Result<Offer, Malformed> {
        let inner = |of: &Element, name: &str| {
            of.child(name).cloned().ok_or_else(|| of.wrong(format!("has no <{name}>")))
        };
        let urls: Vec<String> = inner(check, "urls")?
            .children("url")
            .map(|url| url.required("codebase"))
            .collect::<Result<_, _>>()?;
        let manifest = inner(check, "manifest")?;
        let list = inner(&manifest, "packages")?;
        let packages: Vec<Package> = list
            .children("package")
            .map(|package| {
                let size = package.number("size")?.unwrap_or(0);
                Ok(Package { name: package.required("name")?, size })
            })
            .collect::<Result<_, Malformed>>()?;
        if urls.is_empty() || packages.is_empty() {
            return Err(check.wrong("offers a release that is nowhere to be had".to_owned()));
        }
        let actions = manifest.child("actions");
        let last = actions.and_then(|actions| {
            actions.children("action").find(|action| action.get("event") == Some("postinstall"))
        });
        let yes = |name: &str| last.is_some_and(|action| action.get(name) == Some("true"));
        Ok(Offer {
            version: manifest.text("version"),
            urls,
            packages,
            sha256: last.map(|action| action.text("sha256")).unwrap_or_default(),
            is_delta: yes("IsDeltaPayload"),
            failures_per_url: last
                .map(|action| action.number("MaxFailureCountPerUrl"))
                .transpose()?
                .flatten(),
            no_backoff: yes("DisablePayloadBackoff"),
            poll_interval: check.number("PollInterval")?,
        })
    }
}
