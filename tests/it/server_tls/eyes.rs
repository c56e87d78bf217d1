//! Files with secrets that everybody on the machine can read.

use std::os::unix::fs::PermissionsExt as _;

use super::ground::Ground;
use crate::support::hookwheel;

const EGRESS: &str = "[egress]\nproxy = \"http://127.0.0.1:3128\"\nproxy_user = \"hookwheel\"\n\
                      proxy_password_file = \"proxy.password\"\n";
const REST: &str = "[secrets]\nkey_file = \"master.key\"\nold_key_files = [\"old.key\"]\n\
                    [egress.tls.partner]\ncertificate = \"partner.pem\"\nkey = \"partner.key\"\n\
                    accounts = [\"standard\"]\n";

#[test]
fn each_is_warned_of_and_none_that_only_its_owner_reads() {
    let ground = Ground::new();
    ground.ca.issue_client(&ground.site, "partner");
    for name in ["master.key", "old.key"] {
        let mut command = hookwheel();
        command
            .args(["key", "master", "--out"])
            .arg(ground.site.path(name));
        assert!(command.output().unwrap().status.success());
    }
    std::fs::write(ground.site.path("proxy.password"), "secret-of-the-proxy\n").unwrap();
    let config = ground.config("", "").replacen("[egress]\n", EGRESS, 1) + REST;
    std::fs::write(ground.site.path("config.toml"), config).unwrap();
    let files = [
        "server.key",
        "partner.key",
        "master.key",
        "old.key",
        "proxy.password",
    ];
    for (mode, warnings) in [(0o600, 0), (0o640, 0), (0o644, files.len())] {
        for name in files {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(ground.site.path(name), permissions).unwrap();
        }
        let mut command = hookwheel();
        command
            .args(["check", "--config"])
            .arg(ground.site.path("config.toml"));
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(
            said.matches("can be read by everybody").count(),
            warnings,
            "{mode:o}: {said}"
        );
        for name in files.iter().filter(|_| warnings > 0) {
            let fix = format!("chmod o-rwx {}", ground.site.path(name).display());
            assert!(said.contains(&fix), "{fix}: {said}");
        }
        assert!(!said.contains("secret-of-the-proxy"), "{said}");
    }
}
