//! Links, addresses, DHCP and resolver configuration.
