//! What a picture costs, and an account that has spent its balance.

use serde_json::json;

use crate::support::{SCHNELL, ask, start, text};

#[tokio::test]
async fn a_default_picture_costs_what_the_catalogue_says_and_large_ones_count_by_megapixel() {
    let sim = start().await;
    let scenarios = [
        (SCHNELL, json!({}), 1, 0.003),
        ("fal-ai/hidream-i1-dev", json!({}), 1, 0.004),
        ("fal-ai/hidream-i1-fast", json!({}), 1, 0.003),
        ("fal-ai/flux/dev", json!({}), 1, 0.025),
        (SCHNELL, json!({ "num_images": 4 }), 4, 0.012),
        (SCHNELL, json!({ "image_size": { "width": 1025, "height": 1024 }, "num_images": 2 }), 4, 0.012),
        (SCHNELL, json!({ "image_size": "square" }), 1, 0.003),
    ];
    for (at, (endpoint, mut input, units, cost)) in scenarios.into_iter().enumerate() {
        input["prompt"] = json!("x");
        let job = sim.submit("a:1", endpoint, input).await;
        sim.advance(5.0);
        let reply = ask("GET", text(&job, "response_url")).key("a:1").send().await;
        assert_eq!(reply.header("x-fal-billable-units"), units.to_string());
        let bill = &sim.account("a").await["charges"][at];
        assert_eq!((&bill["output_units"], &bill["cost_total"]), (&json!(units), &json!(cost)), "{endpoint}");
    }
    assert_eq!(sim.account("a").await["balance"], 9.938);
}

#[tokio::test]
async fn an_account_that_has_spent_its_balance_is_locked_but_may_fetch_what_it_paid_for() {
    let sim = start().await;
    let mut last = String::new();
    for _ in 0..4 {
        last = sim.ended("poor:1", "x").await;
    }
    assert_eq!(sim.account("poor").await["balance"], -0.002);
    let refused = sim.post("/queue/fal-ai/flux/schnell").key("poor:1").json(&json!({ "prompt": "x" })).send().await;
    assert!(text(&refused.expect(403), "detail").contains("Exhausted balance"));
    ask("GET", &last).key("poor:1").send().await.expect(200);
}
