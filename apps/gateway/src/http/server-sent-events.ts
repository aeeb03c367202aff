import { errorAnswer } from './openai-error.ts';

/** Sent at once, so that the client has the headers before the first picture; readers pass over comments. */
const OPENING = ': in order\n\n';

/**
 * Events as `event:` and `data:` lines. An error on the way becomes the last event, in the shape of an error's body:
 * the status has been sent long ago.
 *
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export async function* serverSentEvents(
  events: AsyncIterable<{ readonly type: string }>,
  requestId: string,
): AsyncGenerator<string> {
  yield OPENING;
  try {
    for await (const event of events) yield `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
  } catch (error) {
    yield `event: error\ndata: ${JSON.stringify(errorAnswer(error, requestId).body)}\n\n`;
  }
}
