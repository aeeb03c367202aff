import koffi from 'koffi';
import type { OrtApi, Pointer } from './function-table.ts';
import type { Binding, Slot } from './slot.ts';
import { cell, check } from './status.ts';

/** The native arguments of one run: pointer arrays at fixed addresses and an `OrtRunOptions`. Reused by later runs. */
export class RunFrame {
  readonly inputs: BigUint64Array;
  readonly outputs: BigUint64Array;
  readonly outputNames: BigUint64Array;
  readonly inputsAddress: bigint;
  readonly outputsAddress: bigint;
  readonly outputNamesAddress: bigint;
  readonly runOptions: Pointer;
  readonly #held: { slot: Slot; binding: Binding }[] = [];
  /** Places in `outputs` that ONNX Runtime fills with values of its own. */
  readonly #left: number[] = [];
  #terminated = false;

  constructor(
    readonly api: OrtApi,
    inputCount: number,
    outputCount: number,
  ) {
    this.inputs = new BigUint64Array(Math.max(1, inputCount));
    this.outputs = new BigUint64Array(Math.max(1, outputCount));
    this.outputNames = new BigUint64Array(Math.max(1, outputCount));
    this.inputsAddress = koffi.address(this.inputs.buffer);
    this.outputsAddress = koffi.address(this.outputs.buffer);
    this.outputNamesAddress = koffi.address(this.outputNames.buffer);
    check(api, api.createRunOptions(cell.address));
    this.runOptions = cell.pointer();
  }

  /** The run reads `binding` as its input `i`. */
  setInput(i: number, slot: Slot, binding: Binding): void {
    this.#held.push({ slot, binding });
    this.inputs[i] = binding.value;
  }

  /** The run writes its output `i` into `binding`. */
  setOutput(i: number, slot: Slot, binding: Binding): void {
    this.#held.push({ slot, binding });
    this.outputs[i] = binding.value;
    this.outputNames[i] = slot.nameAddress;
  }

  /** ONNX Runtime allocates output `i`. */
  leaveOutput(i: number, slot: Slot): void {
    this.#left.push(i);
    this.outputs[i] = 0n;
    this.outputNames[i] = slot.nameAddress;
  }

  /** Makes the run stop at its next operator. */
  terminate(): void {
    this.#terminated = true;
    this.api.runOptionsSetTerminate(this.runOptions);
  }

  /** Gives back what the run held; the frame is then ready for the next. */
  reset(): void {
    for (const { slot, binding } of this.#held) slot.release(binding);
    this.#held.length = 0;
    for (const i of this.#left) {
      const value = this.outputs[i];
      if (value) this.api.releaseValue(value);
    }
    this.#left.length = 0;
    if (this.#terminated) this.api.runOptionsUnsetTerminate(this.runOptions);
    this.#terminated = false;
  }

  /** Frees the run options; the frame must not be in a run. */
  close(): void {
    this.api.releaseRunOptions(this.runOptions);
  }
}
