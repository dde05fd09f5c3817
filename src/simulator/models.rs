//! The models: what each takes, what it refuses, how long it runs and what it costs.
//!
//! Parameters follow FAL's model pages. The prices are those of the product's own catalogue, so that one default picture of the
//! first three costs $0.003, $0.004 and $0.003; FAL's list prices differ and change.

use std::time::Duration;

use serde_json::{Map, Number, Value, json};

use super::failure::Failure;
use super::parameters::{Kind, LANDSCAPE_4_3, Parameter, SQUARE_HD, item, size_of};
use super::picture::{Format, Size};

/// One endpoint id and everything that depends on it.
#[derive(Debug)]
pub struct Model {
    /// The whole endpoint id, as callers write it.
    pub id: &'static str,
    /// What FAL's catalogue calls it.
    pub title: &'static str,
    /// Millionths of a dollar for each billing unit, one megapixel.
    pub unit_price_micros: u64,
    /// How long one request runs, unless the options say otherwise.
    pub run_time: Duration,
    /// What it accepts, in the order of its page.
    pub parameters: &'static [Parameter],
}

/// FAL's megapixel, the unit of billing.
const MEGAPIXEL: u64 = 1 << 20;

const fn is(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind }
}
const fn steps(default: u64, most: u64) -> Parameter {
    is("num_inference_steps", Kind::Integer { default, least: 1, most })
}
const PROMPT: Parameter = is("prompt", Kind::RequiredText);
const GUIDANCE: Parameter = is("guidance_scale", Kind::Decimal { default: 3.5, least: 1.0, most: 20.0 });
const NUM_IMAGES: Parameter = is("num_images", Kind::Integer { default: 1, least: 1, most: 4 });
const SEED: Parameter = is("seed", Kind::Seed);
const CHECKER: Parameter = is("enable_safety_checker", Kind::Switch(true));
const FORMAT: Parameter = is("output_format", Kind::Choice(&["jpeg", "png"]));
const ACCELERATION: Parameter = is("acceleration", Kind::Choice(&["none", "regular", "high"]));
const SYNC: Parameter = is("sync_mode", Kind::Switch(false));

const fn flux(steps: Parameter) -> [Parameter; 10] {
    let size = is("image_size", Kind::ImageSize(LANDSCAPE_4_3));
    [PROMPT, size, steps, SEED, GUIDANCE, SYNC, NUM_IMAGES, CHECKER, FORMAT, ACCELERATION]
}
const fn hidream(steps: Parameter) -> [Parameter; 9] {
    let size = is("image_size", Kind::ImageSize(SQUARE_HD));
    [PROMPT, is("negative_prompt", Kind::Text("")), size, steps, SEED, NUM_IMAGES, CHECKER, FORMAT, SYNC]
}
const SCHNELL: &[Parameter] = &flux(steps(4, 12));
const FLUX_DEV: &[Parameter] = &flux(steps(28, 50));
const HIDREAM_DEV: &[Parameter] = &hidream(steps(28, 50));
const HIDREAM_FAST: &[Parameter] = &hidream(steps(16, 50));

/// Every model there is. The last two exist so that clients can be shown both namespaces FAL has beside plain apps.
pub const MODELS: &[Model] = &[
    model("fal-ai/flux/schnell", "FLUX.1 [schnell]", 3_000, 400, SCHNELL),
    model("fal-ai/hidream-i1-dev", "HiDream-I1 Dev", 4_000, 3_000, HIDREAM_DEV),
    model("fal-ai/hidream-i1-fast", "HiDream-I1 Fast", 3_000, 1_500, HIDREAM_FAST),
    model("fal-ai/flux/dev", "FLUX.1 [dev]", 25_000, 2_000, FLUX_DEV),
    model("workflows/simulator/postcard", "A workflow", 3_000, 400, SCHNELL),
    model("comfy/simulator/postcard", "A Comfy workflow", 3_000, 400, SCHNELL),
];

const fn model(id: &'static str, title: &'static str, unit_price_micros: u64, run_millis: u64, parameters: &'static [Parameter]) -> Model {
    Model { id, title, unit_price_micros, run_time: Duration::from_millis(run_millis), parameters }
}

/// The model with exactly this endpoint id.
pub fn find(id: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.id == id)
}

/// Whether any model lives under this app, the part of an id that FAL resolves when a request is submitted.
pub fn app_exists(app: &str) -> bool {
    MODELS.iter().any(|model| model.id.strip_prefix(app).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// What a valid request asks to be painted.
#[derive(Clone, Debug)]
pub struct Order {
    /// Who paints.
    pub model: &'static Model,
    /// What.
    pub prompt: String,
    /// An integer of any size JSON can carry; never rounded.
    pub seed: Number,
    /// How large each picture is.
    pub size: Size,
    /// How many.
    pub count: u64,
    /// Encoded how.
    pub format: Format,
    /// Whether pictures come inside the answer, as data URIs.
    pub inline: bool,
}

impl Order {
    /// Megapixels, rounded up for each picture.
    pub fn units(&self) -> u64 {
        self.size.pixels().div_ceil(MEGAPIXEL) * self.count
    }
}

/// Reads an input as the model would: every wrong value is one item of the failure, unknown members are ignored.
pub fn read(model: &'static Model, input: &Value, fresh_seed: u64) -> Result<Order, Failure> {
    let Some(input) = input.as_object() else {
        let item = item(&[], "Input should be a valid dictionary or object to extract fields from", "model_type", input);
        return Err(Failure::validation(vec![item]));
    };
    let faults: Vec<Value> = model.parameters.iter().filter_map(|parameter| parameter.fault(input)).collect();
    if !faults.is_empty() {
        return Err(Failure::validation(faults));
    }
    let text = |name: &str| input.get(name).and_then(Value::as_str);
    let default_size = model.parameters.iter().find_map(|parameter| match parameter.kind {
        Kind::ImageSize(size) => Some(size),
        Kind::RequiredText | Kind::Text(_) | Kind::Integer { .. } | Kind::Decimal { .. } => None,
        Kind::Switch(_) | Kind::Choice(_) | Kind::Seed => None,
    });
    Ok(Order {
        model,
        prompt: text("prompt").unwrap_or_default().to_owned(),
        seed: match input.get("seed") {
            Some(Value::Number(seed)) => seed.clone(),
            Some(_) | None => Number::from(fresh_seed),
        },
        size: input.get("image_size").and_then(size_of).or(default_size).unwrap_or(SQUARE_HD),
        count: input.get("num_images").and_then(Value::as_u64).unwrap_or(1),
        format: if text("output_format") == Some("png") { Format::Png } else { Format::Jpeg },
        inline: input.get("sync_mode").and_then(Value::as_bool).unwrap_or(false),
    })
}

impl Model {
    /// The JSON schema of its input, as FAL publishes it.
    pub fn input_schema(&self) -> Value {
        let properties: Map<String, Value> =
            self.parameters.iter().map(|parameter| (parameter.name.to_owned(), parameter.schema())).collect();
        let order: Vec<&str> = self.parameters.iter().map(|parameter| parameter.name).collect();
        json!({ "type": "object", "properties": properties, "required": ["prompt"], "x-fal-order-properties": order })
    }
}
