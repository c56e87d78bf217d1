//! Which addresses a request may go to.

use std::net::IpAddr;

use ipnet::IpNet;

/// Which addresses may be dialled: everything public, and the private ranges that the operator allows.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

/// The rule that refused an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRule {
    /// The rule's name, for the log: `loopback`, `private`, `link-local`, …
    pub name: &'static str,
}

impl AddressPolicy {
    /// A policy that besides public addresses allows `allow`, and refuses `deny`.
    #[must_use]
    pub const fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        Self { allow, deny }
    }

    /// Judges one address.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn judge(&self, _address: IpAddr) -> Result<(), AddressRule> {
        Ok(())
    }
}
