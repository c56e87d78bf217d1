//! The sender against real HTTPS receivers.
