//! A container's place on its networks, from before its start to its end: namespace, files of `/etc`, resolver.

use oci_spec::runtime::Spec;

use super::etc_files::{self, Names, Reach};
use super::namespace::{self, Namespace, Wanted};
use super::resolver::{Resolver, Serving, Source};
use super::{NetworkError, Networks};
use crate::state::{Containers, Record};

/// Where a container is, and by whom it is served.
#[derive(Debug)]
pub struct Place {
    namespace: Option<Namespace>,
    resolver: Option<Resolver>,
    serving: Option<Serving>,
    names: Names,
}

impl Place {
    /// Makes it, and lets the container's configuration use it. The caller must have one thread.
    ///
    /// # Errors
    /// When a network has no place for it, or a file cannot be written. Then it is on none.
    pub fn make(
        networks: &Networks,
        containers: &Containers,
        record: &Record,
        (wanted, names): (&Wanted, Names),
        spec: &mut Spec,
    ) -> Result<Self, NetworkError> {
        let namespace = namespace::connect(networks, containers, record, wanted)?;
        let mut place = Self { namespace, resolver: None, serving: None, names };
        match place.furnish(networks, containers, record, (wanted, spec)) {
            Ok(()) => Ok(place),
            Err(error) => {
                place.leave(networks, containers, &record.id);
                Err(error)
            }
        }
    }

    fn furnish(
        &mut self,
        networks: &Networks,
        containers: &Containers,
        record: &Record,
        (wanted, spec): (&Wanted, &mut Spec),
    ) -> Result<(), NetworkError> {
        let shared = match wanted {
            Wanted::Shared(other) => Some(containers.dir(&containers.find(other)?.record.id)),
            _ => None,
        };
        if let Some(name) = shared.as_ref().and_then(|dir| std::fs::read_to_string(dir.join("hostname")).ok())
        {
            spec.set_hostname(spec.hostname().as_ref().map(|_| name.trim_end().to_owned()));
        }
        let reach = match &self.namespace {
            None => Reach::Machine,
            Some(namespace) if namespace.has_names(networks) => {
                self.resolver = Some(Resolver::open(std::os::fd::AsFd::as_fd(namespace))?);
                Reach::Resolver
            }
            Some(_) => Reach::Network,
        };
        let dir = containers.dir(&record.id);
        etc_files::add(spec, &dir, record, &self.names, (self.namespace.as_ref(), reach), shared.as_deref())
            .map_err(|source| NetworkError::Io { path: dir, source })?;
        if let Some(namespace) = &self.namespace {
            namespace.enter(spec);
        }
        Ok(())
    }

    /// Serves the container from now on, with a further thread.
    pub fn serve(&mut self, networks: &Networks, containers: &Containers, id: &str) {
        let Some(resolver) = self.resolver.take() else { return };
        let (networks, containers) = (networks.clone(), containers.clone());
        let source = Source {
            container: id.to_owned(),
            networks,
            alive: Box::new(move |id| containers.is_looked_after(id)),
            names: self.names.clone(),
        };
        match resolver.serve(source) {
            Ok(serving) => self.serving = Some(serving),
            // It runs already, and can do without names.
            Err(error) => eprintln!("container {id}: resolver: {error}"),
        }
    }

    /// Takes the container off its networks.
    pub fn leave(self, networks: &Networks, containers: &Containers, id: &str) {
        if let Some(namespace) = self.namespace {
            namespace.leave(networks, containers, id);
        }
    }
}
