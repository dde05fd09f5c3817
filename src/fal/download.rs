//! Fetching a picture: from allowed hosts, without a key, within bounds (design: "The generation engine", rule 6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header;
use reqwest::{Response, Url};
use tokio::time::timeout;

use super::Client;
use super::call::{Bounds, SMALL, read};
use super::error::{Error, What};
use super::picture::Picture;
use crate::config::is_loopback;
use crate::metrics;

/// The largest picture that is kept, in bytes. It is held in memory, as what stores it wants it whole.
pub const LARGEST_PICTURE: usize = 64 << 20;
/// A CDN may send us elsewhere, not round and round.
const MOST_HOPS: usize = 3;

impl Client {
    /// Fetches the picture that a result names. At most sixteen are fetched at once; the time bound begins with a picture's turn.
    ///
    /// # Errors
    /// When it is not there, not on an allowed host, too large, too slow, or no picture.
    pub async fn download(&self, link: &str) -> Result<Picture, Error> {
        let picture = self.picture(link).await;
        metrics::DOWNLOADS.one([if picture.is_ok() { "fetched" } else { "failed" }]);
        // A refusal was counted when it was read.
        picture.map_err(|error| if error.said().is_some() { error } else { error.counted(What::Picture) })
    }

    async fn picture(&self, link: &str) -> Result<Picture, Error> {
        let bytes = match link.strip_prefix("data:") {
            Some(inline) => decoded(inline)?,
            None => {
                let url = link.parse().map_err(|_| untrusted("it is no URL"))?;
                let _turn = self.downloads.acquire().await;
                timeout(self.settings.timeouts.picture, self.fetch(url)).await.map_err(|_| Error::TimedOut(What::Picture))??
            }
        };
        Picture::read(bytes).ok_or(Error::Malformed { what: What::Picture, why: "it is no PNG, JPEG, WebP or GIF" })
    }

    async fn fetch(&self, mut url: Url) -> Result<Bytes, Error> {
        for _ in 0..=MOST_HOPS {
            self.allows(&url)?;
            let request = self.downloader.get(url.clone()).header(header::ACCEPT, "image/*").send();
            let response = self.in_time(request).await?.map_err(|error| Error::transport(What::Picture, error))?;
            match response.status().as_u16() {
                200 => return self.body(response).await,
                301 | 302 | 303 | 307 | 308 => url = next(&response)?,
                _ => {
                    let bounds = Bounds { what: What::Picture, time: self.settings.timeouts.stall, size: SMALL };
                    return Err(self.in_time(read(response, bounds)).await??.refusal());
                }
            }
        }
        Err(untrusted("it redirects too often"))
    }

    /// https on the usual port of an allowed host; anything goes on this machine, if it is allowed at all.
    fn allows(&self, url: &Url) -> Result<(), Error> {
        if !self.settings.media_hosts.iter().any(|pattern| pattern.covers(url)) {
            return Err(untrusted("its host is not among the allowed ones"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(untrusted("it names a user"));
        }
        match url.scheme() {
            "https" if url.port().is_none() || is_loopback(url) => Ok(()),
            "http" if is_loopback(url) => Ok(()),
            "https" => Err(untrusted("it names a port")),
            _ => Err(untrusted("it is not https")),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Bytes, Error> {
        let too_large = || Error::TooLarge { what: What::Picture, limit: LARGEST_PICTURE };
        let promised = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if promised > LARGEST_PICTURE {
            return Err(too_large());
        }
        let mut bytes = BytesMut::with_capacity(promised);
        while let Some(part) = self.in_time(response.chunk()).await?.map_err(|error| Error::transport(What::Picture, error))? {
            if bytes.len() + part.len() > LARGEST_PICTURE {
                return Err(too_large());
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.freeze())
    }

    async fn in_time<T>(&self, step: impl Future<Output = T>) -> Result<T, Error> {
        timeout(self.settings.timeouts.stall, step).await.map_err(|_| Error::TimedOut(What::Picture))
    }
}

fn next(response: &Response) -> Result<Url, Error> {
    let target = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    target.and_then(|target| response.url().join(target).ok()).ok_or_else(|| untrusted("it redirects to nowhere"))
}

/// `image/png;base64,…`, the form of `sync_mode`, which is never asked for.
fn decoded(inline: &str) -> Result<Bytes, Error> {
    let malformed = |why| Error::Malformed { what: What::Picture, why };
    let (kind, text) = inline.split_once(',').ok_or_else(|| malformed("its data: URI has no data"))?;
    if !kind.ends_with(";base64") {
        return Err(malformed("its data: URI is not base64"));
    }
    if text.len() / 4 * 3 > LARGEST_PICTURE {
        return Err(Error::TooLarge { what: What::Picture, limit: LARGEST_PICTURE });
    }
    STANDARD.decode(text).map(Bytes::from).map_err(|_| malformed("its data: URI is not base64"))
}

fn untrusted(why: &'static str) -> Error {
    Error::Untrusted { what: What::Picture, why }
}
