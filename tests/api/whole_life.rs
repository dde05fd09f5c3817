//! The whole life of a token, with everything that can go wrong on its way, and no secret left anywhere.

use std::process::Command;

use serde_json::{Value, json};

use crate::stage::{Person, Stage, USERS};
use crate::support::canary::{assert_kept, plant};
use crate::support::pocketbase::{EMAIL, PASSWORD};
use crate::support::until;

fn generate(stage: &Stage, person: &Person, session: &str, prompt: &str) -> (u16, Value) {
    let body = json!({"model": "flux/schnell", "prompt": prompt});
    let answer = stage.ask("POST", "/api/custom/generate/image").by(person).session(session).json(&body).send();
    (answer.status, answer.json)
}

/// What goes wrong with passwords and sessions.
fn mistakes(stage: &Stage) {
    let (ann, _) = stage.person_with_key();
    let session = &stage.session(&ann, &ann.password);
    let ann = &ann;
    let post = |path: &str, body: &Value| stage.ask("POST", path).by(ann).json(body).from("192.0.2.1").send().status;
    assert_eq!(post("/api/custom/auth/login", &json!({"email": ann.email, "password": "a password of another place"})), 400);
    for _ in 0..5 {
        post("/api/custom/auth/create-session", &json!({"password": "one that does not open it"}));
    }
    assert_eq!(post("/api/custom/auth/create-session", &json!({"password": "one that does not open it"})), 429);
    assert_eq!(post("/api/custom/tokens/setup", &json!({"fal_token": "bad:a-key-that-fal-rejects", "password": ann.password})), 400);
    assert_eq!(post("/api/custom/tokens/setup", &json!({"fal_token": "short", "password": "a password with a bad key"})), 400);
    let cut = format!("{{\"password\": \"{}\"", ann.password);
    let answer = stage.ask("POST", "/api/custom/auth/create-session").by(ann).body("application/json", cut).send();
    assert_eq!(answer.status, 400);
    let foreign = stage.person();
    assert_eq!(stage.ask("DELETE", "/api/custom/auth/session").by(&foreign).session(session).send().status, 403);
    for path in ["/api/custom/nowhere", "/api/collections/nowhere/records", "/%zz"] {
        assert!(stage.ask("GET", path).by(ann).session(session).send().status >= 400, "{path}");
    }
}

/// What the program says of itself, with the same secrets in its environment.
fn what_commands_say(stage: &Stage) {
    for (arguments, secrets) in [
        (&["serve", "--help"][..], vec![("GENERATIO_POCKETBASE_EMAIL", EMAIL), ("GENERATIO_POCKETBASE_PASSWORD", PASSWORD)]),
        (&["serve", "--listen", "nowhere"], vec![("GENERATIO_POCKETBASE_PASSWORD", PASSWORD)]),
        (&["serve", "--listen", "127.0.0.1:0"], vec![("GENERATIO_POCKETBASE_PASSWORD", PASSWORD)]),
        (&["doctor"], vec![("GENERATIO_POCKETBASE_EMAIL", EMAIL), ("GENERATIO_POCKETBASE_PASSWORD", PASSWORD)]),
        (&["doctor", "--log", "trace"], vec![("GENERATIO_POCKETBASE_TOKEN", stage.superuser.token())]),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_generatio"));
        command.args(arguments).env("GENERATIO_POCKETBASE_URL", format!("http://{}", stage.pocketbase.address)).envs(secrets);
        for part in ["QUEUE", "REST", "API"] {
            command.env(format!("GENERATIO_FAL_{part}_URL"), format!("http://{}/{}", stage.fal, part.to_lowercase()));
        }
        let output = command.output().unwrap();
        assert_kept(&format!("what {arguments:?} says"), &[output.stdout, output.stderr].concat());
    }
}

#[test]
fn no_secret_is_left_anywhere_in_the_whole_life_of_a_token() {
    let stage = Stage::with(&["--log-format", "json", "--jobs-per-minute", "4", "--fal-media-hosts", "127.0.0.1"]);
    let (mut ann, key) = stage.person_with_key();
    plant(&key);
    stage.login(&ann, &ann.password).expect(200);
    let session = stage.session(&ann, &ann.password);
    let (status, made) = generate(&stage, &ann, &session, "a lighthouse at dusk");
    assert_eq!(status, 200, "{made}");
    for (fault, expected) in [("result.422:content_policy_violation", 422), ("result.fail", 502), ("submit.5xx", 502)] {
        assert_eq!(generate(&stage, &ann, &session, &format!("[[sim:{fault}]]")).0, expected, "{fault}");
    }
    assert_eq!(generate(&stage, &ann, &session, "one too many").0, 429);
    mistakes(&stage);
    let (old, new) = (ann.password.clone(), stage.secret("the password after all of that"));
    let change = json!({"oldPassword": old, "password": new, "passwordConfirm": new});
    stage.ask("PATCH", &format!("{USERS}/records/{}", ann.id)).by(&ann).json(&change).send().expect(200);
    ann.password = new;
    stage.sign_in(&mut ann);
    until("the key went along", || stage.opened(&ann, &ann.password).is_some());
    let session = stage.session(&ann, &ann.password);
    stage.ask("DELETE", "/api/custom/auth/session").by(&ann).session(&session).send().expect(200);
    stage.ask("DELETE", "/api/custom/tokens").by(&ann).send().expect(200);
    what_commands_say(&stage);
    assert!(stage.sidecar.log().contains("\"TRACE\"") || stage.sidecar.log().contains("\"DEBUG\""), "the log says little");
    stage.assert_secrets_are_kept();
}
