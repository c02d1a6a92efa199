//! Style checks as tests.
