//! That the models ship as promised, and that what they take and refuse has a name.

use serde_json::json;

use super::*;

fn catalogue() -> Catalogue {
    Catalogue::built_in()
}

fn schnell() -> Model {
    catalogue().find("flux/schnell").expect("it ships").clone()
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

#[test]
fn three_models_ship_under_all_their_names() {
    let catalogue = catalogue();
    for (names, fal_id, display_name, micros) in [
        (&["flux/schnell", "fal-ai/flux/schnell"][..], "fal-ai/flux/schnell", "Flux Schnell", 3_000),
        (&["hidream/hidream-i1-dev", "fal-ai/hidream-i1-dev", "hidream-i1-dev"], "fal-ai/hidream-i1-dev", "Hi-Dream I1 Dev", 4_000),
        (&["hidream/hidream-i1-fast", "fal-ai/hidream-i1-fast", "hidream-i1-fast"], "fal-ai/hidream-i1-fast", "Hi-Dream I1 Fast", 3_000),
    ] {
        for name in names {
            let model = catalogue.find(name).expect(name);
            assert_eq!((model.name.as_str(), model.endpoint.as_str()), (names[0], fal_id));
            assert_eq!((model.display_name.as_str(), model.cost_per_image.micros()), (display_name, micros));
        }
    }
    assert_eq!(catalogue.models().len(), 3);
    for name in ["", "flux", "FLUX/SCHNELL", "fal-ai/flux", "fal-ai/hidream/hidream-i1-dev"] {
        assert!(catalogue.find(name).is_none(), "{name}");
    }
}

#[test]
fn the_list_of_models_has_the_shape_that_front_ends_know() {
    let text = serde_json::to_string(&catalogue()).expect("JSON");
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let model = &list["flux/schnell"];
    assert_eq!(
        (&model["name"], &model["display_name"], &model["cost_per_image"]),
        (&json!("flux/schnell"), &json!("Flux Schnell"), &json!(0.003))
    );
    let steps = json!({
        "type": "integer", "default": 4, "min": 1, "max": 12, "required": false,
        "description": "Steps of the model: more take longer and show more detail",
    });
    assert_eq!(model["parameters"]["num_inference_steps"], steps);
    let size = &model["parameters"]["image_size"];
    assert_eq!((&size["type"], &size["default"]), (&json!("object"), &json!("landscape_4_3")));
    assert_eq!(size["options"].as_array().map(Vec::len), Some(6));
    assert_eq!(list["hidream/hidream-i1-dev"]["parameters"]["image_size"]["default"], json!({ "width": 1024, "height": 1024 }));
    let seed = &model["parameters"]["seed"];
    assert!(seed["default"].is_null() && seed.get("min").is_none() && seed.get("options").is_none());
    assert!(model["parameters"].get("sync_mode").is_none() && model["parameters"].get("prompt").is_none());
    for parameter in
        list.as_object().expect("models").values().flat_map(|model| model["parameters"].as_object().expect("parameters").values())
    {
        assert!(["type", "default", "description", "required"].iter().all(|member| parameter.get(member).is_some()), "{parameter}");
    }
    let places =
        ["flux/schnell", "hidream/hidream-i1-dev", "hidream/hidream-i1-fast"].map(|name| text.find(&format!("{{\"name\":\"{name}\"")));
    assert!(places.is_sorted() && places[0].is_some(), "the order is the file's");
}

#[test]
fn a_wrong_value_is_named_with_its_code() {
    let size = |width: Value, height: Value| json!({ "width": width, "height": height });
    for (name, value, field, code) in [
        ("num_images", json!(0), "num_images", "validation_min_number_constraint"),
        ("num_images", json!(5), "num_images", "validation_max_number_constraint"),
        ("num_images", json!(-1), "num_images", "validation_min_number_constraint"),
        ("num_images", json!(1.5), "num_images", "validation_only_int_constraint"),
        ("num_images", json!(1e300), "num_images", "validation_only_int_constraint"),
        ("num_images", json!("2"), "num_images", "validation_invalid_value"),
        ("num_images", json!(null), "num_images", "validation_invalid_value"),
        ("num_images", json!(true), "num_images", "validation_invalid_value"),
        ("num_inference_steps", json!(13), "num_inference_steps", "validation_max_number_constraint"),
        ("guidance_scale", json!(0.9), "guidance_scale", "validation_min_number_constraint"),
        ("guidance_scale", json!(20.1), "guidance_scale", "validation_max_number_constraint"),
        ("guidance_scale", json!([1]), "guidance_scale", "validation_invalid_value"),
        ("enable_safety_checker", json!("true"), "enable_safety_checker", "validation_invalid_value"),
        ("enable_safety_checker", json!(1), "enable_safety_checker", "validation_invalid_value"),
        ("output_format", json!("gif"), "output_format", "validation_in_invalid"),
        ("output_format", json!("PNG"), "output_format", "validation_in_invalid"),
        ("output_format", json!(7), "output_format", "validation_in_invalid"),
        ("seed", json!("7"), "seed", "validation_invalid_value"),
        ("seed", json!(0.5), "seed", "validation_only_int_constraint"),
        ("image_size", json!("huge"), "image_size", "validation_in_invalid"),
        ("image_size", json!(512), "image_size", "validation_invalid_value"),
        ("image_size", json!([512, 512]), "image_size", "validation_invalid_value"),
        ("image_size", json!({ "width": 512 }), "image_size.height", "validation_required"),
        ("image_size", size(json!(0), json!(1)), "image_size.width", "validation_min_number_constraint"),
        ("image_size", size(json!(1), json!(14143)), "image_size.height", "validation_max_number_constraint"),
        ("image_size", size(json!("1"), json!(1)), "image_size.width", "validation_invalid_value"),
    ] {
        let faults = schnell().validate(&map(json!({ name: value }))).expect_err(name);
        assert_eq!(faults.len(), 1, "{name}: {value}");
        assert_eq!((faults[0].field.as_str(), faults[0].code), (field, code), "{name}: {value}");
        assert!(faults[0].message.ends_with('.'), "{}", faults[0].message);
    }
    let all = schnell().validate(&map(json!({ "num_images": 9, "output_format": "bmp", "nonsense": 1 }))).expect_err("two faults");
    assert_eq!(all.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), ["num_images", "output_format"]);
}

#[test]
fn what_is_right_is_sent_as_it_is_and_the_rest_is_listed() {
    let given = map(json!({
        "num_images": 2.0, "guidance_scale": 7, "seed": 18_446_744_073_709_551_615_u64, "output_format": "png", "acceleration": "high",
        "image_size": { "width": 640, "height": 480.0, "depth": 3 }, "enable_safety_checker": false,
        "sync_mode": true, "prompt": "x", "loras": [1], "": null,
    }));
    let accepted = schnell().validate(&given).expect("all of it is right");
    let sent = json!({
        "num_images": 2, "guidance_scale": 7, "seed": 18_446_744_073_709_551_615_u64, "output_format": "png", "acceleration": "high",
        "image_size": { "width": 640, "height": 480 }, "enable_safety_checker": false,
    });
    assert_eq!(Value::from(accepted.send), sent);
    assert_eq!(accepted.ignored, ["", "loras", "prompt", "sync_mode"]);
    let null = schnell().validate(&map(json!({ "seed": null }))).expect("FAL's seed may be null");
    assert!(null.send.is_empty() && null.ignored.is_empty());
}

#[test]
fn defaults_count_for_what_is_wanted() {
    let (schnell, dev) = (schnell(), catalogue().find("hidream-i1-dev").expect("it ships").clone());
    let wanted = |model: &Model, value| {
        let wanted = model.wanted(&model.validate(&map(value)).expect("valid").send);
        (wanted.images, wanted.size.width, wanted.size.height)
    };
    assert_eq!(wanted(&schnell, json!({})), (1, 1024, 768));
    assert_eq!(wanted(&dev, json!({})), (1, 1024, 1024));
    assert_eq!(wanted(&schnell, json!({ "num_images": 4, "image_size": "portrait_16_9" })), (4, 576, 1024));
    assert_eq!(wanted(&dev, json!({ "image_size": { "width": 700, "height": 300 } })), (1, 700, 300));
}

const OWN: &str = r#"
[[model]]
name = "flux/schnell"
fal_id = "fal-ai/flux/schnell"
display_name = "Ours"
cost_per_image = 0.01
price_unit = "images"

[[model]]
name = "mine"
aliases = ["my own"]
fal_id = "me/mine"
display_name = "Mine"
cost_per_image = 1
price_unit = "megapixels"

  [[model.parameter]]
  name = "style"
  type = "choice"
  options = ["oil", "ink"]
  required = true

  [[model.parameter]]
  name = "words"
  type = "string"
  max = 3
"#;

#[test]
fn a_file_adds_models_and_replaces_those_of_the_same_name() {
    let text = OWN.replace("my own", "my-own");
    let catalogue = Catalogue::with_text(&text).expect("a catalogue");
    let names: Vec<&str> = catalogue.models().iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["flux/schnell", "hidream/hidream-i1-dev", "hidream/hidream-i1-fast", "mine"]);
    let replaced = catalogue.find("flux/schnell").expect("it is there");
    assert_eq!((replaced.display_name.as_str(), replaced.cost_per_image.micros(), &replaced.price_unit), ("Ours", 10_000, &Unit::Image));
    assert!(catalogue.find("fal-ai/flux/schnell").is_none(), "the aliases are replaced as well");

    let mine = catalogue.find("my-own").expect("it is there");
    let faults = mine.validate(&map(json!({ "words": "äöüß" }))).expect_err("two faults");
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["validation_required", "validation_max_text_constraint"]);
    assert!(mine.validate(&map(json!({ "style": "ink", "words": "äöü" }))).is_ok());
    assert!(mine.validate_some(&map(json!({ "words": "ab" }))).is_ok(), "a preference need not be complete");
    assert!(mine.validate(&map(json!({ "style": null }))).is_err());
}

#[test]
fn a_mistake_in_a_file_is_found_by_its_line_and_field() {
    let right = OWN.replace("my own", "my-own");
    for (from, to, line, field, why) in [
        ("my-own", "my own", 11, "aliases", "visible ASCII"),
        ("\"me/mine\"", "\"mine\"", 12, "fal_id", "a FAL id"),
        ("cost_per_image = 1\n", "cost_per_image = -1\n", 14, "cost_per_image", "dollars"),
        ("cost_per_image = 1\n", "cost_per_image = 0.0000001\n", 14, "cost_per_image", "dollars"),
        ("cost_per_image = 1\n", "cost_per_image = \"1\"\n", 14, "cost_per_image", "invalid type"),
        ("cost_per_image = 1\n", "cost_per_image = nan\n", 14, "cost_per_image", "dollars"),
        ("\"megapixels\"", "\"seconds\"", 15, "price_unit", "megapixels"),
        ("\"choice\"", "\"enum\"", 19, "type", "expected integer"),
        ("[\"oil\", \"ink\"]", "[]", 19, "type", "needs options"),
        ("max = 3", "max = \"3\"", 26, "max", "expected a length"),
        ("max = 3", "min = 3", 26, "min", "no such bound"),
        ("max = 3", "default = 3", 26, "default", "expected a string"),
        ("max = 3", "maximum = 3", 26, "maximum", "unknown field `maximum`"),
        ("max = 3", "options = [\"a\"]", 26, "options", "no options"),
        ("required = true", "default = \"acid\"", 21, "default", "the default is not allowed: Must be one of oil, ink."),
        ("name = \"words\"", "name = \"style\"", 24, "name", "named once"),
        ("name = \"words\"", "name = \"sync_mode\"", 24, "name", "sync_mode"),
        ("name = \"mine\"", "name = \"flux/schnell\"", 10, "name", "means two models"),
        ("\"my-own\"", "\"hidream-i1-dev\"", 11, "aliases", "\"hidream-i1-dev\" means two models"),
        ("max = 3", "max = ", 26, "max", ""),
    ] {
        let fault = Catalogue::with_text(&right.replace(from, to)).expect_err(to);
        assert_eq!(fault.line, line, "{to}: {fault}");
        assert!(fault.text.starts_with(field) && fault.why.contains(why), "{to}: {fault}");
    }
    let missing = Catalogue::with_text("[[model]]\nname = \"x\"\n").expect_err("most of it is missing");
    assert!(missing.why.contains("missing field `fal_id`"), "{missing}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Catalogue::with_file(Path::new("/nonexistent/models.toml")).expect_err("no file");
    assert!(error.to_string().contains("/nonexistent/models.toml"), "{error}");
}
