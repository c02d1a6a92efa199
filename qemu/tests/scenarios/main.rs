//! Boot scenarios: what a person at the machine would see, told in prose.
//!
//! Each scenario has a stage of its own; that of a failed one is kept, with the console log, and
//! its place is printed. They need the artifacts of `image/build all`, and of a second release in
//! `build/next` (`image/build disk --version next --output build/next`).

mod stage;

mod boots;
mod cloud_config;
mod cluster;
mod commands;
mod containers;
mod hostile;
mod power;
mod slots;
mod state;
mod stock_clients;
mod update;
