//! `api.fal.ai/v1`, and a model's OpenAPI document.

use serde_json::{Value, json};

use crate::support::{SCHNELL, Sim, start, text};

#[tokio::test]
async fn prices_are_those_of_the_catalogue() {
    let sim = start().await;
    let url = "/api/v1/models/pricing?endpoint_id=fal-ai/flux/schnell,fal-ai/hidream-i1-dev,fal-ai/hidream-i1-fast,fal-ai/flux/dev";
    let prices = sim.get(url).key("a:1").send().await.expect(200);
    let found: Vec<(&str, &Value)> =
        prices["prices"].as_array().unwrap().iter().map(|price| (text(price, "unit"), &price["unit_price"])).collect();
    let expected = [json!(0.003), json!(0.004), json!(0.003), json!(0.025)];
    assert_eq!(found, expected.iter().map(|price| ("megapixels", price)).collect::<Vec<_>>());
    assert_eq!((&prices["has_more"], &prices["prices"][0]["currency"]), (&json!(false), &json!("USD")));
}

#[tokio::test]
async fn pricing_is_refused_in_the_platforms_own_shape() {
    let sim = start().await;
    let many = vec![SCHNELL; 51].join(",");
    let scenarios = [
        (SCHNELL, None, 401, "authorization_error"),
        (SCHNELL, Some("bad:1"), 401, "authorization_error"),
        (SCHNELL, Some("scope:1"), 403, "authorization_error"),
        (SCHNELL, Some("empty:1"), 200, ""),
        ("", Some("a:1"), 400, "validation_error"),
        (&many, Some("a:1"), 400, "validation_error"),
        ("fal-ai/none", Some("a:1"), 404, "not_found"),
        (SCHNELL, Some("a:[[sim:pricing_down]]"), 503, "server_error"),
    ];
    for (ids, key, status, kind) in scenarios {
        let mut asked = sim.get(&format!("/api/v1/models/pricing?endpoint_id={ids}"));
        if let Some(key) = key {
            asked = asked.key(key);
        }
        let body = asked.send().await.expect(status);
        assert_eq!(body["error"]["type"].as_str().unwrap_or(""), kind, "{key:?}");
    }
}

#[tokio::test]
async fn an_estimate_multiplies() {
    let sim = start().await;
    for (kind, quantity) in [("unit_price", "unit_quantity"), ("historical_api_price", "call_quantity")] {
        let wish = json!({ "estimate_type": kind, "endpoints": {
            SCHNELL: { quantity: 10 }, "fal-ai/hidream-i1-dev": { quantity: 2 },
        } });
        let estimate = sim.post("/api/v1/models/pricing/estimate").key("a:1").json(&wish).send().await.expect(200);
        assert_eq!(estimate, json!({ "estimate_type": kind, "total_cost": 0.038, "currency": "USD" }));
    }
}

#[tokio::test]
async fn the_catalogue_is_open_and_can_be_searched() {
    let sim = start().await;
    let all = sim.get("/api/v1/models").send().await.expect(200);
    assert_eq!(all["models"].as_array().unwrap().len(), 6);
    let found = sim.get("/api/v1/models?q=hidream&expand=openapi-3.0").send().await.expect(200);
    assert_eq!(found["models"].as_array().unwrap().len(), 2);
    assert_eq!(found["models"][0]["openapi"]["openapi"], "3.0.4");
}

#[tokio::test]
async fn a_models_document_says_what_the_model_takes() {
    let sim = start().await;
    let document = async |id: &str| sim.get(&format!("/api/openapi/queue/openapi.json?endpoint_id={id}")).send().await;
    let fast = document("fal-ai/hidream-i1-fast").await.expect(200);
    let input = &fast["components"]["schemas"]["Input"];
    assert_eq!(input["required"], json!(["prompt"]));
    assert_eq!(input["properties"]["num_inference_steps"], json!({ "type": "integer", "minimum": 1, "maximum": 50, "default": 16 }));
    assert_eq!(input["properties"]["image_size"]["default"], json!({ "width": 1024, "height": 1024 }));
    assert_eq!(input["properties"].get("guidance_scale"), None);
    assert_eq!(input["x-fal-order-properties"][0], "prompt");
    let schnell = document(SCHNELL).await.expect(200);
    let input = &schnell["components"]["schemas"]["Input"]["properties"];
    assert_eq!((&input["num_inference_steps"]["maximum"], &input["image_size"]["default"]), (&json!(12), &json!("landscape_4_3")));
    assert_eq!(document("fal-ai/none").await.status, 404);
}

async fn history(sim: &Sim, key: &str, query: &str) -> Value {
    let url = format!("/api/v1/models/requests/by-endpoint?endpoint_id={SCHNELL}{query}");
    sim.get(&url).key(key).send().await.expect(200)
}

#[tokio::test]
async fn a_lost_submit_is_found_again_by_its_own_key() {
    let sim = start().await;
    let lost = sim.post("/queue/fal-ai/flux/schnell").key("a:1");
    lost.json(&json!({ "prompt": "lost [[sim:drop_after_accept]]", "seed": 4_611_686_018_427_387_905_u64 })).try_send().await.unwrap_err();
    let pending = history(&sim, "a:1", "").await;
    assert_eq!((&pending["items"][0]["status_code"], &pending["items"][0]["ended_at"]), (&Value::Null, &Value::Null));
    sim.advance(5.0);
    let found = history(&sim, "a:1", "&expand=payloads").await;
    let item = &found["items"][0];
    assert_eq!(item["json_input"]["seed"], 4_611_686_018_427_387_905_u64);
    assert_eq!((&item["status_code"], &item["duration"]), (&json!(200), &json!(0.4)));
    let url = format!("/queue/fal-ai/flux/requests/{}", text(item, "request_id"));
    sim.get(&url).key("a:1").send().await.expect(200);
    assert_eq!(history(&sim, "b:1", "").await["items"], json!([]));
}

#[tokio::test]
async fn history_is_filtered_paged_and_keeps_no_payload_that_was_not_to_be_stored() {
    let sim = start().await;
    for n in 0..5 {
        let endpoint = sim.post("/queue/fal-ai/flux/schnell").key("a:1").header("x-fal-store-io", "0");
        endpoint.json(&json!({ "prompt": "x", "num_images": if n == 0 { 9 } else { 1 } })).send().await.expect(200);
        sim.advance(60.0);
    }
    let count = |body: &Value| body["items"].as_array().unwrap().len();
    let page = history(&sim, "a:1", "&limit=2&expand=payloads").await;
    assert_eq!((count(&page), &page["has_more"], &page["next_cursor"]), (2, &json!(true), &json!("2")));
    assert_eq!(page["items"][0].get("json_input"), None);
    assert!(text(&page["items"][0], "sent_at") > text(&page["items"][1], "sent_at"));
    assert_eq!(count(&history(&sim, "a:1", "&limit=2&cursor=4").await), 1);
    assert_eq!(count(&history(&sim, "a:1", "&status=error").await), 1);
    assert_eq!(count(&history(&sim, "a:1", "&status=success").await), 4);
    let second = text(&page["items"][1], "sent_at").replace('+', "%2B");
    assert_eq!(count(&history(&sim, "a:1", &format!("&start={second}")).await), 2);
    assert_eq!(count(&history(&sim, "a:1", &format!("&end={second}")).await), 4);
    let id = text(&page["items"][0], "request_id").to_owned();
    sim.advance(2.0 * 86_400.0);
    assert_eq!(count(&history(&sim, "a:1", "").await), 0);
    assert_eq!(count(&history(&sim, "a:1", &format!("&request_id={id}")).await), 1);
}

#[tokio::test]
async fn billing_is_for_admin_keys_and_meta_for_everybody() {
    let sim = start().await;
    sim.ended("admin:1", "x").await;
    for path in ["/api/v1/account/billing?expand=credits", "/api/v1/models/usage", "/api/v1/models/billing-events"] {
        let refused = sim.get(path).key("a:1").send().await.expect(403);
        assert_eq!(refused["error"], json!({ "type": "authorization_error", "message": "Access denied" }));
        sim.get(path).key("admin:1").send().await.expect(200);
    }
    let billing = sim.get("/api/v1/account/billing").key("admin:1").send().await.expect(200);
    assert_eq!(billing["credits"], json!({ "current_balance": 9.997, "currency": "USD" }));
    let events = sim.get("/api/v1/models/billing-events").key("admin:1").send().await.expect(200);
    assert_eq!(events["items"][0]["cost_estimate_nano_usd"], 3_000_000);
    assert!(sim.get("/api/v1/meta").send().await.expect(200)["webhook_ip_ranges"].is_array());
}
