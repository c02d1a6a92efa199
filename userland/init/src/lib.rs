//! PID 1 and its client: events in, actions out.
