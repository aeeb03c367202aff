import { describe, expect, it } from 'vitest';
import { nounPhrase, withArticle } from './noun-phrase.ts';

describe('nounPhrase', () => {
  it.each([
    ['man: red hair', 'man with red hair'],
    ['woman: bald', 'bald woman'],
    ['person: beard', 'person with a beard'],
    ['woman walking: facing right', 'woman walking facing right'],
    ['family: man, woman, boy', 'family of man, woman and boy'],
    ['keycap: 5', 'number 5'],
    ['keycap: #', 'hash sign'],
    ['two o’clock', "clock showing two o'clock"],
    ['AB button (blood type)', 'AB button for blood type'],
    ['Japanese “here” button', 'Japanese here button'],
    ['red apple', 'red apple'],
  ])('%s → %s', (label, phrase) => expect(nounPhrase(label)).toBe(phrase));
});

describe('withArticle', () => {
  it.each([
    ['red apple', 'a red apple'],
    ['owl', 'an owl'],
    ['hourglass done', 'an hourglass done'],
    ['unicorn', 'a unicorn'],
    ['SOS button', 'an SOS button'],
    ['SUV', 'an SUV'],
    ['slice of pizza', 'a slice of pizza'],
    ['bowl of noodles', 'a bowl of noodles'],
    ['smiling face with sunglasses', 'a smiling face with sunglasses'],
    ['grapes', 'grapes'],
    ['red grapes', 'red grapes'],
    ['bus', 'a bus'],
    ['octopus', 'an octopus'],
    ['bread', 'bread'],
    ['women wrestling', 'women wrestling'],
    ['man surfing', 'a man surfing'],
    ['Statue of Liberty', 'the Statue of Liberty'],
    ['planet earth', 'planet earth'],
    ['two hearts', 'two hearts'],
  ])('%s → %s', (phrase, expected) => expect(withArticle(phrase)).toBe(expected));
});
