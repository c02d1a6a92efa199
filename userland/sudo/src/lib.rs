//! Passwordless root for the operators, without a setuid file.
