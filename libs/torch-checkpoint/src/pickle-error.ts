/** A pickle breaks a rule of its format. */
export class PickleError extends Error {}

/** The bytes ended before the pickle did. */
export class PickleEnd extends PickleError {
  constructor() {
    super('it is cut short');
  }
}

/** A pickle would make this program allocate more than its bound. */
export class PickleTooLarge extends Error {}
