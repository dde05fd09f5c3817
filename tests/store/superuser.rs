//! The superuser that PocketBase makes for the sidecar, where its environment asks for one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::support::pocketbase::PocketBase;
use super::support::rest::Rest;

const EMAIL: &str = "sidecar@generatio.internal";

/// A PocketBase that makes the superuser, and the file with its password.
struct Made {
    pocketbase: PocketBase,
    file: PathBuf,
}

impl Made {
    fn by(mut pocketbase: PocketBase, name: &str, password: Option<&str>) -> Self {
        let folder = std::env::temp_dir().join(format!("generatio-secret-{name}-{}", std::process::id()));
        let file = folder.join("password");
        fs::create_dir_all(&folder).unwrap();
        if let Some(password) = password {
            fs::write(&file, format!("{password}\nnot this line\n")).unwrap();
        }
        pocketbase.set("GENERATIO_POCKETBASE_EMAIL", EMAIL);
        pocketbase.set("GENERATIO_POCKETBASE_PASSWORD_FILE", file.to_str().unwrap());
        pocketbase.restart();
        Self { pocketbase, file }
    }

    fn password(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    fn sign_in(&self, password: &str) -> Rest {
        Rest::new(self.pocketbase.address).as_superuser(EMAIL, password)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = self.file.parent().map(fs::remove_dir_all);
    }
}

fn may_do_all(caller: &Rest) -> bool {
    caller.get("/api/settings").0 == 200
}

#[test]
fn it_is_made_once_with_a_password_of_its_own_and_its_tokens_live_on() {
    for release in ["0.23.12", "0.36.9", "0.40.6"] {
        let mut made = Made::by(PocketBase::with_store_of(release), release, None);
        let password = made.password();
        assert!(password.len() >= 40 && password.chars().all(char::is_alphanumeric), "{release}");
        assert_eq!(fs::metadata(&made.file).unwrap().permissions().mode() & 0o777, 0o400, "{release}");
        let superuser = made.sign_in(&password);
        made.pocketbase.restart();
        assert!(may_do_all(&superuser), "{release}: a second start ended its tokens");
        assert_eq!(made.password(), password, "{release}");
        assert!(!made.pocketbase.log().contains(&password), "{release}: the password is in the log");
    }
}

#[test]
fn a_password_that_is_given_is_taken_by_its_first_line() {
    let made = Made::by(PocketBase::with_store(), "given", Some("the operators own"));
    assert!(may_do_all(&made.sign_in("the operators own")));
}

#[test]
fn only_a_password_whose_file_is_gone_is_replaced() {
    let mut made = Made::by(PocketBase::with_store(), "gone", None);
    let before = made.password();
    let superuser = made.sign_in(&before);
    fs::remove_file(&made.file).unwrap();
    made.pocketbase.restart();
    assert_ne!(made.password(), before);
    assert!(may_do_all(&made.sign_in(&made.password())));
    assert!(!may_do_all(&superuser));
}

#[test]
fn a_folder_that_is_not_there_stops_nothing_and_is_said() {
    let mut pocketbase = PocketBase::with_store();
    pocketbase.set("GENERATIO_POCKETBASE_EMAIL", EMAIL);
    pocketbase.set("GENERATIO_POCKETBASE_PASSWORD_FILE", "/nowhere/at/all");
    pocketbase.restart();
    assert!(pocketbase.log().contains("the sidecar's superuser sidecar@generatio.internal could not be made"));
    let (_, found) = pocketbase.superuser().get("/api/collections/_superusers/records");
    assert_eq!(found["totalItems"], 1, "none was made whose password nobody knows");
}
