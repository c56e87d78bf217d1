//! The receiver's own rules; what it answers is tried from the sender's side.
