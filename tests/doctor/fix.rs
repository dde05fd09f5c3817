//! What `--fix` mends, that a second run is clean, and that nothing else was touched.

use serde_json::{Value, json};

use crate::clinic::{Clinic, on_oldest_and_newest};

on_oldest_and_newest! {
    everything_that_is_ours_is_mended_at_once_and_nothing_else_is_touched;
    sums_are_written_anew_from_the_ledger_and_undercharged_pictures_are_left_to_a_person;
}

/// Everything about collections that are not ours, as text.
fn others(clinic: &Clinic) -> String {
    let superuser = clinic.superuser();
    let collections: Vec<Value> = superuser.get("/api/collections?perPage=200&sort=name").1["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|collection| ["theirs", "users", "_superusers"].iter().any(|name| collection["name"] == *name))
        .cloned()
        .collect();
    assert_eq!(collections.len(), 3);
    format!("{collections:?} {:?} {}", superuser.rows("theirs"), superuser.get("/api/settings").1["meta"])
}

fn everything_that_is_ours_is_mended_at_once_and_nothing_else_is_touched(release: &str) {
    let clinic = Clinic::on(release);
    let superuser = clinic.superuser();
    let theirs = json!({"name": "theirs", "type": "base", "listRule": "", "fields": [{"type": "text", "name": "note"}],
        "indexes": ["CREATE INDEX `idx_theirs` ON `theirs` (`note`)"]});
    superuser.made("/api/collections", &theirs);
    superuser.row("theirs", &json!({"note": "untouched"}));
    let before = others(&clinic);
    assert_eq!(superuser.delete("/api/collections/spend_totals").0, 204);
    clinic.change("generations", |there| {
        there["fields"].as_array_mut().unwrap().retain(|field| field["name"] != "units");
        let kept =
            there["indexes"].as_array().unwrap().iter().filter(|text| !text.as_str().unwrap().contains("_status")).cloned().collect();
        there["indexes"] = Value::Array(kept);
    });
    clinic.change("images", |there| there["listRule"] = json!(""));
    assert_eq!(superuser.patch("/api/settings", &json!({"batch": {"enabled": false}})).0, 200);

    let said = clinic.doctor(&[]);
    assert_eq!((said.status, said.named("broken")), (1, vec!["batch", "collections", "rules"]), "{:#}", said.answer);
    for (line, words) in [
        (
            "collections",
            ["spend_totals: the collection is missing", "generations.units: the field is missing", "idx_generatio_generations_status"],
        ),
        ("rules", ["images.listRule", "lets through what it must not", "--fix"]),
        ("batch", ["the batch API is off", "settings.batch", "--fix"]),
    ] {
        words.iter().for_each(|word| assert!(said.line(line).to_string().contains(word), "{word}: {}", said.line(line)));
    }
    let fixed = clinic.doctor(&["--fix"]);
    fixed.is_well();
    assert!(fixed.done().len() >= 5, "{}", fixed.answer);
    let again = clinic.doctor(&["--fix"]);
    again.is_well();
    assert!(again.done().is_empty(), "{}", again.answer);
    assert_eq!(others(&clinic), before);
}

fn sums_are_written_anew_from_the_ledger_and_undercharged_pictures_are_left_to_a_person(release: &str) {
    let clinic = Clinic::on(release);
    let superuser = clinic.superuser();
    let [ann, bob, cyd] = ["ann@example.com", "bob@example.com", "cyd@example.com"].map(|email| clinic.user(email));
    for user in [&ann, &bob, &cyd] {
        let event = json!({"user_id": user, "job_id": format!("job-{user}"), "kind": "charge", "amount_micros": 5_000, "images": 1});
        superuser.row("spend_events", &event);
    }
    let said = clinic.doctor(&["--fix"]);
    assert_eq!((said.status, said.done().len()), (0, 3), "three totals were behind: {}", said.answer);

    let totals = format!("/api/collections/spend_totals/records/{ann}");
    assert_eq!(superuser.patch(&totals, &json!({"spent_micros": 4_999})).0, 200, "one micro-dollar");
    let record = format!("/api/collections/generatio_users/records/{bob}");
    assert_eq!(superuser.patch(&record, &json!({"financial_data": {"total_spent": 0.005, "total_images": 2}})).0, 200);
    superuser.row("images", &json!({"user_id": cyd, "job_id": "x", "cost_micros": 5_001}));
    clinic.doctor(&[]).is_broken_in("books", &["disagree for 3 of 3 users", &ann, &bob, &cyd, "--fix"]);
    let fixed = clinic.doctor(&["--fix"]);
    fixed.is_broken_in("books", &["disagree for 1 of 3 users", &cyd, "never charged"]);
    assert_eq!(fixed.done().len(), 2, "{}", fixed.answer);
    assert_eq!(superuser.get(&totals).1["spent_micros"], 5_000);
    assert!(clinic.doctor(&["--fix"]).done().is_empty());
}
