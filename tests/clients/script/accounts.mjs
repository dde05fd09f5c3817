// What a user does: sign up, sign in by password, one-time password and both, recover, be impersonated.

export async function accounts({ saw, refused, admin, guest, client, smtp }) {
  const users = guest.collection('users');
  const ann = { email: 'ann@example.com', password: 'ann has a password', name: 'Ann "the <first>" Ünal' };
  await saw('sign-in methods', () => users.listAuthMethods());
  await saw('a user signs up', () => users.create({ ...ann, passwordConfirm: ann.password }));
  await refused(400, 'a second user of the address is refused', () => users.create({ ...ann, passwordConfirm: ann.password }));
  await refused(400, 'a wrong password is refused', () => users.authWithPassword(ann.email, 'not it'));

  const own = client();
  await saw('a user signs in by password', () => own.collection('users').authWithPassword(ann.email, ann.password, { expand: 'nothing', fields: '*,record.name' }));
  await saw('a session is refreshed', () => own.collection('users').authRefresh());
  await saw('a user sees itself', () => own.collection('users').getOne(own.authStore.record.id));
  await saw('a user changes its name', () => own.collection('users').update(own.authStore.record.id, { name: 'Ann' }));
  await saw('a user does not see the others', () => own.collection('users').getList(1, 10));

  await mailed({ saw, refused, own, users, smtp, ann });
  await oneTimePassword({ saw, refused, client, smtp, ann });
  await bothFactors({ saw, refused, admin, client, smtp });

  const impersonated = await admin.collection('users').impersonate(own.authStore.record.id, 60);
  await saw('a superuser acts as a user', () => impersonated.collection('users').getOne(own.authStore.record.id));
  await saw('what impersonation gave', () => ({ token: impersonated.authStore.token, record: impersonated.authStore.record }));
  await refused(403, 'a user may not impersonate', () => own.collection('users').impersonate(own.authStore.record.id, 60));
  const again = client();
  await again.collection('users').authWithPassword('anna@example.com', 'ann has another');
  return again;
}

async function mailed({ saw, refused, own, users, smtp, ann }) {
  const token = async (to) => /auth\/[a-z-]+\/([\w.-]+)/.exec((await smtp.next(to)).text)[1];
  await saw('a verification is mailed', () => users.requestVerification(ann.email));
  const verification = await token(ann.email);
  await saw('an address is verified', () => users.confirmVerification(verification));
  await saw('a new password is mailed for', () => users.requestPasswordReset(ann.email));
  const reset = await token(ann.email);
  await saw('a password is set by mail', () => users.confirmPasswordReset(reset, 'ann has another', 'ann has another'));
  await refused(401, 'the session of the old password is over', () => own.collection('users').authRefresh());
  await own.collection('users').authWithPassword(ann.email, 'ann has another');
  await saw('a new address is asked for', () => own.collection('users').requestEmailChange('anna@example.com'));
  const change = await token('anna@example.com');
  await saw('the address is changed', () => own.collection('users').confirmEmailChange(change, 'ann has another'));
  ann.email = 'anna@example.com';
  await own.collection('users').authWithPassword(ann.email, 'ann has another');
}

async function oneTimePassword({ saw, refused, client, smtp, ann }) {
  const own = client();
  const { otpId } = await saw('a one-time password is asked for', () => own.collection('users').requestOTP(ann.email));
  const { subject, text } = await smtp.next(ann.email);
  await saw('the mail of a one-time password', () => subject);
  await refused(400, 'a wrong one-time password is refused', () => own.collection('users').authWithOTP(otpId, '00000000'));
  await saw('a user signs in by one-time password', () => own.collection('users').authWithOTP(otpId, oneTime(text)));
  await refused(400, 'a one-time password works once', () => own.collection('users').authWithOTP(otpId, oneTime(text)));
}

async function bothFactors({ saw, refused, admin, client, smtp }) {
  const bob = { email: 'bob@example.com', password: 'bob has a password' };
  await admin.collection('users').create({ ...bob, passwordConfirm: bob.password, verified: true });
  await saw('two factors are required', () => admin.collections.update('users', { mfa: { enabled: true, duration: 1800 } }));
  const own = client();
  const halfway = await refused(401, 'the first factor is not enough', () => own.collection('users').authWithPassword(bob.email, bob.password));
  const { otpId } = await own.collection('users').requestOTP(bob.email);
  const { text } = await smtp.next(bob.email);
  await saw('the second factor is', () => own.collection('users').authWithOTP(otpId, oneTime(text), { mfaId: halfway.response.mfaId }));
  await saw('one factor is enough again', () => admin.collections.update('users', { mfa: { enabled: false } }));
}

const oneTime = (text) => /(?<!\w)\d{8}(?!\w)/.exec(text)[0];
