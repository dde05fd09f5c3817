// A front end's use of the types: it compiles only while the document says what it says today.
import type { components, paths } from './generatio';

type Schemas = components['schemas'];
type Answer<Path extends keyof paths, Method extends keyof paths[Path]> = paths[Path][Method] extends {
  responses: { 200: { content: { 'application/json': infer Body } } };
}
  ? Body
  : never;

const body: Schemas['CreateCollection'] = { name: 'Cats' };
// @ts-expect-error a collection needs a name
const nameless: Schemas['CreateCollection'] = { private: true };

function shown(page: Answer<'/api/custom/images', 'get'>): string[] {
  return page.images.map((image) => `${image.thumbnail_url} ${image.prompt} $${image.cost.toFixed(6)} ${image.created ?? 'once'}`);
}

function ended(job: Answer<'/api/custom/jobs/{id}', 'get'>): boolean {
  const over: Schemas['JobStatus'][] = ['completed', 'failed', 'cancelled'];
  return over.includes(job.status);
}

function sentence(problem: Schemas['Problem']): string {
  return `${problem.status} ${problem.error}: ${problem.message}`;
}

export { body, ended, nameless, sentence, shown };
