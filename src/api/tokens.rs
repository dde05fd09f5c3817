//! The user's FAL key: stored, checked, sealed under another password, taken away.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Caller, given};
use crate::app::App;
use crate::error::{Error, Fault};
use crate::keys::Verified;
use crate::pocketbase::callers::User;
use crate::vault::{NewPassword, Opened, Password};

/// Body of `POST /api/custom/tokens/setup`.
#[derive(Deserialize, ToSchema)]
#[schema(as = SetupToken)]
pub(super) struct Setup {
    fal_token: Option<String>,
    #[schema(value_type = Option<String>)]
    password: Option<Password>,
}

/// Body of `POST /api/custom/tokens/verify`.
#[derive(Deserialize, ToSchema)]
#[schema(as = VerifyToken)]
pub(super) struct Verify {
    #[schema(value_type = Option<String>)]
    password: Option<Password>,
}

/// Body of `POST /api/custom/tokens/change-password`.
#[derive(Deserialize, ToSchema)]
pub(super) struct ChangePassword {
    #[schema(value_type = Option<String>)]
    old_password: Option<Password>,
    #[schema(value_type = Option<String>)]
    new_password: Option<Password>,
}

/// It worked.
#[derive(Serialize, ToSchema)]
pub(super) struct Done {
    success: bool,
    message: &'static str,
}

/// Answer of `POST /api/custom/tokens/setup`.
#[derive(Serialize, ToSchema)]
#[schema(as = StoredToken)]
pub(super) struct Stored {
    success: bool,
    message: &'static str,
    /// Whether FAL said that it knows the key; `false` when FAL could not be asked.
    verified: bool,
}

/// Answer of `POST /api/custom/tokens/verify`.
#[derive(Serialize, ToSchema)]
pub(super) struct Verification {
    has_token: bool,
    can_decrypt: bool,
}

impl Done {
    pub(super) const fn saying(message: &'static str) -> Self {
        Self { success: true, message }
    }
}

/// In place of any earlier key.
pub(super) async fn setup(app: &App, caller: Caller<'_>, body: Setup) -> Result<Stored, Error> {
    let key = Opened::parse(given("fal_token", body.fal_token)?)
        .map_err(|_| Fault::invalid("fal_token", "validation_invalid_value", "must have 10 to 200 visible ASCII characters"))?;
    let password = new_password("password", body.password)?;
    let verified = app.keys.setup(&caller.user, key, password).await?;
    Ok(Stored { success: true, message: "FAL token setup successfully", verified })
}

/// Always 200: a password that does not open the seal is an answer, not a failure.
pub(super) async fn verify(app: &App, caller: Caller<'_>, body: Verify) -> Result<Verification, Error> {
    let password = given("password", body.password)?;
    let verified = app.keys.verify(&caller.user, password, caller.address).await?;
    Ok(Verification { has_token: verified != Verified::NoKey, can_decrypt: verified == Verified::Opens })
}

/// Sessions stay.
pub(super) async fn change_password(app: &App, caller: Caller<'_>, body: ChangePassword) -> Result<Done, Error> {
    let old = given("old_password", body.old_password)?;
    let new = new_password("new_password", body.new_password)?;
    app.keys.change_password(&caller.user, old, new, caller.address).await?;
    Ok(Done::saying("Password changed successfully"))
}

/// Ends the user's sessions.
pub(super) async fn delete(app: &App, user: User) -> Result<Done, Error> {
    app.keys.delete(&user).await?;
    Ok(Done::saying("FAL token deleted successfully"))
}

fn new_password(field: &str, given_one: Option<Password>) -> Result<NewPassword, Error> {
    let password = given(field, given_one)?;
    Ok(NewPassword::parse(password)
        .map_err(|_| Fault::invalid(field, "validation_length_out_of_range", "must have 8 to 128 characters"))?)
}
