//! What a machine asks and tells.

use crate::element::{Element, Malformed, Unwritable};
use crate::event::Event;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// The program that asks, with its version.
    pub updater: String,
    /// A person asks, not a timer.
    pub on_demand: bool,
    /// The system of the machine.
    pub os: Os,
    /// What it asks for.
    pub apps: Vec<App>,
}

/// The system of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Os {
    /// `Chateau`, by tradition.
    pub version: String,
    /// `CoreOS`.
    pub platform: String,
    /// The version and the architecture: `1.2.3_x86_64`.
    pub service_pack: String,
}

/// An application: here the system itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct App {
    /// Which one.
    pub id: String,
    /// The version that runs.
    pub version: String,
    /// The channel or group.
    pub track: String,
    /// The machine.
    pub machine_id: String,
    /// Its name, for people.
    pub machine_alias: String,
    /// This boot of it.
    pub boot_id: String,
    /// Where it runs: `ami`, `qemu`…
    pub oem: String,
    /// The version of what is particular to that.
    pub oem_version: String,
    /// The architecture's board: `amd64-usr`.
    pub board: String,
    /// Whether it takes a difference.
    pub delta_okay: bool,
    /// The root hash that runs, so that a server knows what a difference may begin from: ours, others pass over it.
    pub root_hash: String,
    /// It is alive.
    pub ping: bool,
    /// It asks for a release.
    pub check: Option<Check>,
    /// What it tells.
    pub events: Vec<Event>,
}

/// The question for a release.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Check {
    /// It wants no newer one than those that begin with this.
    pub target_version_prefix: Option<String>,
}

impl Request {
    /// As XML.
    ///
    /// # Errors
    /// A text has a character that XML cannot hold.
    pub fn to_xml(&self) -> Result<String, Unwritable> {
        let os = Element::new("os")
            .with("version", &self.os.version)
            .with("platform", &self.os.platform)
            .with("sp", &self.os.service_pack);
        Element::new("request")
            .with("protocol", "3.0")
            .with("version", &self.updater)
            .with("updaterversion", &self.updater)
            .with("installsource", if self.on_demand { "ondemandupdate" } else { "scheduler" })
            .with("ismachine", 1)
            .holding(os)
            .holding_all(self.apps.iter().map(App::element))
            .document()
    }

    /// Reads what a machine sends.
    ///
    /// # Errors
    /// It is no request of Omaha 3.0.
    pub fn parse(text: &[u8]) -> Result<Request, Malformed> {
        let request = Element::parse(text, "request")?;
        match request.get("protocol") {
            Some("3.0") => {}
            other => return Err(request.wrong(format!("has protocol {other:?}, 3.0 is spoken here"))),
        }
        let os = request.child("os").map(|os| Os {
            version: os.text("version"),
            platform: os.text("platform"),
            service_pack: os.text("sp"),
        });
        Ok(Request {
            updater: request.text("updaterversion"),
            on_demand: request.get("installsource") == Some("ondemandupdate"),
            os: os.unwrap_or_default(),
            apps: request.children("app").map(App::read).collect::<Result<_, _>>()?,
        })
    }
}

impl App {
    fn element(&self) -> Element {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let ping = self.ping.then(|| Element::new("ping").with("active", 1));
        let check = self.check.as_ref().map(|check| {
            Element::new("updatecheck").with_some("targetversionprefix", check.target_version_prefix.as_ref())
        });
        Element::new("app")
            .with("appid", &self.id)
            .with("version", &self.version)
            .with("track", &self.track)
            .with("bootid", &self.boot_id)
            .with_some("oem", some(&self.oem))
            .with_some("oemversion", some(&self.oem_version))
            .with("machineid", &self.machine_id)
            .with_some("machinealias", some(&self.machine_alias))
            .with("lang", "en-US")
            .with_some("board", some(&self.board))
            .with("hardware_class", "")
            .with("delta_okay", self.delta_okay)
            .with_some("roothash", some(&self.root_hash))
            .holding_all(ping.into_iter().chain(check))
            .holding_all(self.events.iter().map(Event::element))
    }

    fn read(app: &Element) -> Result<App, Malformed> {
        let check = app.child("updatecheck").map(|check| Check {
            target_version_prefix: check.get("targetversionprefix").map(str::to_owned),
        });
        Ok(App {
            id: app.required("appid")?,
            version: app.text("version"),
            track: app.text("track"),
            machine_id: app.text("machineid"),
            machine_alias: app.text("machinealias"),
            boot_id: app.text("bootid"),
            oem: app.text("oem"),
            oem_version: app.text("oemversion"),
            board: app.text("board"),
            delta_okay: app.get("delta_okay") == Some("true"),
            root_hash: app.text("roothash"),
            ping: app.child("ping").is_some(),
            check,
            events: app.children("event").map(Event::read).collect::<Result<_, _>>()?,
        })
    }
}
