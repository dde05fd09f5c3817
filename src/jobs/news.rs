//! When to look at a job: at once when FAL says something of it, else now and then.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::fal::State;

/// FAL's status is asked for this often where FAL says nothing by itself, at first and at last.
const POLL: Duration = Duration::from_millis(250);
const SLOWEST_POLL: Duration = Duration::from_secs(2);
/// And this often where it does: a stream may have lost its job.
const BACKSTOP: Duration = Duration::from_secs(10);

/// FAL's own words while there are any.
pub(super) struct News<'a, S> {
    states: Option<Pin<&'a mut S>>,
    pause: Duration,
    /// When to ask, whatever is said until then.
    due: Instant,
}

impl<'a, S: Stream<Item = State>> News<'a, S> {
    pub(super) fn of(states: Pin<&'a mut S>) -> Self {
        Self { states: Some(states), pause: POLL, due: Instant::now() + POLL }
    }

    /// What FAL said; none when it is time to ask. Nothing is lost when this is given up.
    pub(super) async fn next(&mut self) -> Option<State> {
        let due = self.due;
        let Some(states) = &mut self.states else {
            sleep_until(due).await;
            self.asked();
            return None;
        };
        tokio::select! {
            said = states.next() => {
                self.heard(said.as_ref());
                said
            }
            () = sleep_until(due) => {
                self.asked();
                None
            }
        }
    }

    /// Something was said; or nothing will be again, and then it is time to ask.
    fn heard(&mut self, said: Option<&State>) {
        if matches!(said, None | Some(State::Completed { .. })) {
            self.states = None;
            self.wait(POLL);
        } else if self.pause != BACKSTOP {
            self.wait(BACKSTOP);
        }
    }

    fn asked(&mut self) {
        self.wait(self.pause.max((self.pause * 2).min(SLOWEST_POLL)));
    }

    fn wait(&mut self, pause: Duration) {
        (self.pause, self.due) = (pause, Instant::now() + pause);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn what_fal_says_comes_at_once_and_when_it_says_no_more_it_is_time_to_ask() {
        let mut states = pin!(stream::iter([State::Running]));
        let mut news = News::of(states.as_mut());
        assert_eq!(news.next().await, Some(State::Running));
        assert_eq!(news.pause, BACKSTOP, "it will say more");
        assert_eq!(news.next().await, None);
        assert!(news.pause == POLL && news.states.is_none(), "it says no more");
    }

    #[tokio::test]
    async fn a_silent_fal_is_asked_at_a_slowing_pace_and_one_that_speaks_rarely() {
        let mut states = pin!(stream::pending());
        let mut news = News::of(states.as_mut());
        for pause in [250, 500, 1000, 2000, 2000].map(Duration::from_millis) {
            assert_eq!(news.pause, pause);
            news.asked();
        }
        news.heard(Some(&State::Running));
        let due = news.due;
        news.heard(Some(&State::Running));
        assert_eq!((news.pause, news.due), (BACKSTOP, due), "what is said does not put off the asking");
        news.asked();
        assert_eq!(news.pause, BACKSTOP);
        news.heard(Some(&State::Completed { error: None }));
        assert!(news.pause == POLL && news.states.is_none(), "there is nothing more to say");
    }
}
