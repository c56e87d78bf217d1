//! The daemon among the rude: clients that will not finish, receivers that will not answer, files that were
//! cut, and operators who press the button twice. Others are served all the while, and nothing is lost.

mod clients;
mod files;
pub mod receivers;
mod signals;

use crate::support::{Daemon, Site};

/// A site's config with more lines in its `[server]` section.
fn with_server(site: &Site, lines: &str) -> String {
    site.config(true)
        .replacen("[server]\n", &format!("[server]\n{lines}\n"), 1)
}

/// Starts a daemon with more lines in its `[server]` section.
fn start_with_server(site: &Site, lines: &str) -> Daemon {
    Daemon::start(&site.path("config.toml"), &with_server(site, lines))
}

#[test]
fn listening_beyond_this_machine_is_warned_of() {
    let site = Site::new(&["standard"]);
    let warning = "the API speaks plain HTTP";
    assert!(!site.start().log().contains(warning));
    let open = site.config(true).replace("127.0.0.1:0", "0.0.0.0:0");
    let daemon = Daemon::start(&site.path("config.toml"), &open);
    assert!(daemon.log().contains(warning), "{}", daemon.log());
}
