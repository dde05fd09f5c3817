//! What a finished job gave, of whichever model: only the pictures are certain to be there.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Number, Value};

use super::charge::{Size, Units};
use super::error::{Error, What};
use super::follow::member;

/// More pictures than this come from no model.
const MOST_IMAGES: usize = 64;

/// The output of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The pictures, in order. There may be none.
    pub images: Vec<Image>,
    /// What FAL billed; exact, not multiplied with a price.
    pub units: Option<Units>,
    /// FAL's id of the request.
    pub request_id: Option<String>,
    /// The seed used. It may be larger than 2^53.
    pub seed: Option<Number>,
    /// Whether each picture was flagged, and is blank. As long as `images`.
    pub flagged: Vec<bool>,
    /// How long the model ran, as it says itself.
    pub inference_seconds: Option<f64>,
}

/// One picture, still at FAL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Image {
    /// Where it is; a `data:` URI holds it.
    pub url: String,
    /// Pixels across, where FAL says.
    #[serde(default, deserialize_with = "lenient")]
    pub width: Option<u32>,
    /// Pixels down.
    #[serde(default, deserialize_with = "lenient")]
    pub height: Option<u32>,
    /// `image/png`. The content decides.
    #[serde(default, deserialize_with = "lenient")]
    pub content_type: Option<String>,
}

impl Image {
    /// Its size, where FAL says.
    pub fn size(&self) -> Option<Size> {
        Some(Size { width: self.width?, height: self.height? }).filter(|size| size.width > 0 && size.height > 0)
    }
}

impl Output {
    pub(super) fn read(headers: &HeaderMap, mut body: Value) -> Result<Self, Error> {
        let malformed = |why| Error::Malformed { what: What::Result, why };
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // Most models give `images`, a few give one `image`.
        let listed: Option<Vec<Value>> = member(&mut body, "images").or_else(|| member(&mut body, "image").map(|one| vec![one]));
        let listed = listed.ok_or_else(|| malformed("it has no images"))?;
        if listed.len() > MOST_IMAGES {
            return Err(malformed("it has more images than any model makes"));
        }
        let images: Result<Vec<Image>, _> = listed.into_iter().map(serde_json::from_value).collect();
        let images = images.map_err(|_| malformed("an image has no url"))?;
        let mut flagged: Vec<bool> = member(&mut body, "has_nsfw_concepts").unwrap_or_default();
        flagged.resize(images.len(), false);
        let timings: Option<Value> = member(&mut body, "timings");
        Ok(Self {
            images,
            units: header("x-fal-billable-units").and_then(billed),
            request_id: header("x-fal-request-id").map(str::to_owned),
            seed: member(&mut body, "seed"),
            flagged,
            inference_seconds: timings.and_then(|timings| timings["inference"].as_f64()),
        })
    }
}

fn billed(text: &str) -> Option<Units> {
    let units = Units::read(text);
    if units.is_none() {
        tracing::warn!(units = text, "FAL reported billing units that are no number; the cost is estimated");
    }
    units
}

fn lenient<'de, D: serde::Deserializer<'de>, T: serde::de::DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Output, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("x-fal-billable-units", "1.5".parse().expect("a value"));
        Output::read(&headers, body)
    }

    #[test]
    fn only_the_pictures_must_be_there() {
        let full = read(json!({
            "images": [{ "url": "https://v3.fal.media/a.png", "width": 1024, "height": 768, "content_type": "image/png" }],
            "seed": 18_446_744_073_709_551_615_u64, "has_nsfw_concepts": [true], "timings": { "inference": 0.4 },
        }))
        .expect("an output");
        assert_eq!(full.images[0].size(), Some(Size { width: 1024, height: 768 }));
        assert_eq!(full.seed.map(|seed| seed.to_string()).as_deref(), Some("18446744073709551615"));
        assert_eq!((full.units, full.flagged, full.inference_seconds), (Units::read("1.5"), vec![true], Some(0.4)));

        let bare = read(json!({ "image": { "url": "x", "width": null, "height": "tall" }, "seed": "none", "has_nsfw_concepts": 7 }));
        let bare = bare.expect("an output");
        assert_eq!((bare.images[0].size(), bare.seed, bare.flagged), (None, None, vec![false]));
        assert_eq!(read(json!({ "images": [] })).expect("an output").images, []);
    }

    #[test]
    fn an_output_without_pictures_is_none() {
        for body in [json!({}), json!([]), json!({ "images": [{ "width": 1 }] }), json!({ "images": vec![json!({ "url": "" }); 65] })] {
            assert!(matches!(read(body), Err(Error::Malformed { .. })));
        }
    }
}
