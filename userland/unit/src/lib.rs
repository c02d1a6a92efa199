//! Unit text to units, dependency graph, jobs and transitions. Pure: opens no file, reads no clock.
