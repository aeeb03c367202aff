;; The passes over a row of logits and over the list of its largest. Addresses are in bytes, on 16-byte boundaries; all
;; ranges have room for a multiple of 4 words. Plain 128-bit SIMD. What is kept of random numbers is random, and a branch for
;; each would be guessed wrong as often as not: there is none but for what is rare.
(module
  (import "row" "memory" (memory 1))

  ;; The first 256 bytes of the memory: for each mask of four lanes the bytes of those that it keeps, moved to the front.
  (data (i32.const 0)
    "\00\01\02\03\00\01\02\03\00\01\02\03\00\01\02\03" ;; 0000
    "\00\01\02\03\00\01\02\03\00\01\02\03\00\01\02\03" ;; 0001
    "\04\05\06\07\00\01\02\03\00\01\02\03\00\01\02\03" ;; 0010
    "\00\01\02\03\04\05\06\07\00\01\02\03\00\01\02\03" ;; 0011
    "\08\09\0a\0b\00\01\02\03\00\01\02\03\00\01\02\03" ;; 0100
    "\00\01\02\03\08\09\0a\0b\00\01\02\03\00\01\02\03" ;; 0101
    "\04\05\06\07\08\09\0a\0b\00\01\02\03\00\01\02\03" ;; 0110
    "\00\01\02\03\04\05\06\07\08\09\0a\0b\00\01\02\03" ;; 0111
    "\0c\0d\0e\0f\00\01\02\03\00\01\02\03\00\01\02\03" ;; 1000
    "\00\01\02\03\0c\0d\0e\0f\00\01\02\03\00\01\02\03" ;; 1001
    "\04\05\06\07\0c\0d\0e\0f\00\01\02\03\00\01\02\03" ;; 1010
    "\00\01\02\03\04\05\06\07\0c\0d\0e\0f\00\01\02\03" ;; 1011
    "\08\09\0a\0b\0c\0d\0e\0f\00\01\02\03\00\01\02\03" ;; 1100
    "\00\01\02\03\08\09\0a\0b\0c\0d\0e\0f\00\01\02\03" ;; 1101
    "\04\05\06\07\08\09\0a\0b\0c\0d\0e\0f\00\01\02\03" ;; 1110
    "\00\01\02\03\04\05\06\07\08\09\0a\0b\0c\0d\0e\0f" ;; 1111
  )

  ;; The largest and the least key that `collect` has listed.
  (global (export "most") (mut i32) (i32.const 0))
  (global (export "fewest") (mut i32) (i32.const 0))
  ;; How many keys of the bin that `boundary` has found are among the k largest.
  (global (export "wanted") (mut i32) (i32.const 0))

  ;; Lists the logits that reach $least: the sortable key of each, of −0 as of +0, from $keys on, and where it stands in
  ;; the row, from $indices on; in the row's order. The sortable key of a float32 of bits b is b ^ ((b >> 31) & 0x7fffffff),
  ;; an int32 that orders as the float does. Returns how many they are, or −1 when a logit is NaN or infinite: adding one
  ;; step to the exponent bits of such a number carries into the sign, which $overflow collects. $count: a multiple of 4.
  (func (export "collect")
    (param $row i32) (param $count i32) (param $least f32) (param $keys i32) (param $indices i32) (result i32)
    (local $from i32) (local $end i32) (local $mask i32) (local $bytes i32) (local $order v128)
    (local $least4 v128) (local $overflow v128) (local $logits v128) (local $key v128) (local $kept v128)
    (local $places v128) (local $most4 v128) (local $fewest4 v128)
    (local.set $from (local.get $keys))
    (local.set $end (i32.add (local.get $row) (i32.shl (local.get $count) (i32.const 2))))
    (local.set $least4 (f32x4.splat (local.get $least)))
    (local.set $places (v128.const i32x4 0 1 2 3))
    (local.set $most4 (v128.const i32x4 0x80000000 0x80000000 0x80000000 0x80000000))
    (local.set $fewest4 (v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $row) (local.get $end)))
        (local.set $logits (v128.load (local.get $row)))
        (local.set $overflow
          (v128.or
            (local.get $overflow)
            (i32x4.add (v128.and (local.get $logits) (v128.const i32x4 0x7f800000 0x7f800000 0x7f800000 0x7f800000)) (v128.const i32x4 0x00800000 0x00800000 0x00800000 0x00800000))))
        (local.set $key
          (v128.xor (local.get $logits) (v128.and (i32x4.shr_s (local.get $logits) (i32.const 31)) (v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff))))
        (local.set $key (v128.andnot (local.get $key) (i32x4.eq (local.get $key) (v128.const i32x4 -1 -1 -1 -1))))
        (local.set $kept (f32x4.ge (local.get $logits) (local.get $least4)))
        (local.set $most4
          (i32x4.max_s (local.get $most4) (v128.bitselect (local.get $key) (v128.const i32x4 0x80000000 0x80000000 0x80000000 0x80000000) (local.get $kept))))
        (local.set $fewest4
          (i32x4.min_s (local.get $fewest4) (v128.bitselect (local.get $key) (v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff) (local.get $kept))))
        (local.set $mask (i32x4.bitmask (local.get $kept)))
        (local.set $order (v128.load (i32.shl (local.get $mask) (i32.const 4))))
        (v128.store (local.get $keys) (i8x16.swizzle (local.get $key) (local.get $order)))
        (v128.store (local.get $indices) (i8x16.swizzle (local.get $places) (local.get $order)))
        (local.set $bytes (i32.shl (i32.popcnt (local.get $mask)) (i32.const 2)))
        (local.set $keys (i32.add (local.get $keys) (local.get $bytes)))
        (local.set $indices (i32.add (local.get $indices) (local.get $bytes)))
        (local.set $places (i32x4.add (local.get $places) (v128.const i32x4 4 4 4 4)))
        (local.set $row (i32.add (local.get $row) (i32.const 16)))
        (br $next)))
    (global.set 0 (call $largest (local.get $most4)))
    (global.set 1 (i32.xor (call $largest (v128.not (local.get $fewest4))) (i32.const -1)))
    (if (i32x4.bitmask (local.get $overflow)) (then (return (i32.const -1))))
    (i32.shr_u (i32.sub (local.get $keys) (local.get $from)) (i32.const 2)))

  ;; The largest of four int32.
  (func $largest (param $four v128) (result i32)
    (local.set $four
      (i32x4.max_s
        (local.get $four)
        (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $four) (local.get $four))))
    (local.set $four
      (i32x4.max_s
        (local.get $four)
        (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11 (local.get $four) (local.get $four))))
    (i32x4.extract_lane 0 (local.get $four)))

  ;; Finds the $k-th largest of $count keys, 1 to $count, up to its bin: the keys are put into $bins bins of equal width,
  ;; from the float $low on, each 1 / $scale wide; which one, from $places on. Whatever $scale is, a larger key is in no
  ;; lower bin. Writes the places of the keys in the bin of the $k-th from $members on, at most $room of them, and
  ;; returns how many are in it.
  (func (export "boundary")
    (param $keys i32) (param $count i32) (param $k i32) (param $low f32) (param $scale f32)
    (param $places i32) (param $histogram i32) (param $bins i32) (param $members i32) (param $room i32) (result i32)
    (local $low4 v128) (local $scale4 v128) (local $last4 v128) (local $four v128)
    (local $i i32) (local $at i32) (local $held i32) (local $found i32) (local $bin i32)
    (local.set $low4 (f32x4.splat (local.get $low)))
    (local.set $scale4 (f32x4.splat (local.get $scale)))
    (local.set $last4 (i32x4.splat (i32.sub (local.get $bins) (i32.const 1))))
    (loop $next
      (local.set $four (v128.load (i32.add (local.get $keys) (local.get $at))))
      (local.set $four
        (v128.xor (local.get $four) (v128.and (i32x4.shr_s (local.get $four) (i32.const 31)) (v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff))))
      (v128.store
        (i32.add (local.get $places) (local.get $at))
        (i32x4.min_u
          (i32x4.trunc_sat_f32x4_u
            (f32x4.mul (f32x4.sub (local.get $four) (local.get $low4)) (local.get $scale4)))
          (local.get $last4)))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (local.get $count))))
    (memory.fill (local.get $histogram) (i32.const 0) (i32.shl (local.get $bins) (i32.const 2)))
    (local.set $i (i32.const 0))
    (loop $next
      (local.set $at
        (i32.add
          (local.get $histogram)
          (i32.shl
            (i32.load (i32.add (local.get $places) (i32.shl (local.get $i) (i32.const 2))))
            (i32.const 2))))
      (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (i32.const 1)))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $count))))
    ;; From the highest bin down, until the k-th is reached.
    (local.set $bin (i32.sub (local.get $bins) (i32.const 1)))
    (block $reached
      (loop $lower
        (local.set $held
          (i32.load (i32.add (local.get $histogram) (i32.shl (local.get $bin) (i32.const 2)))))
        (br_if $reached (i32.ge_u (local.get $held) (local.get $k)))
        (local.set $k (i32.sub (local.get $k) (local.get $held)))
        (local.set $bin (i32.sub (local.get $bin) (i32.const 1)))
        (br $lower)))
    (global.set 2 (local.get $k))
    (if (i32.gt_u (local.get $held) (local.get $room)) (then (return (local.get $held))))
    (local.set $four (i32x4.splat (local.get $bin)))
    (local.set $i (i32.const 0))
    (loop $next
      (local.set $at (i32.add (local.get $places) (i32.shl (local.get $i) (i32.const 2))))
      (if (v128.any_true (i32x4.eq (v128.load (local.get $at)) (local.get $four)))
        (then
          (loop $lane
            (if
              (i32.and
                (i32.eq (i32.load (local.get $at)) (local.get $bin))
                (i32.lt_u (local.get $i) (local.get $count)))
              (then
                (i32.store (local.get $members) (local.get $i))
                (local.set $members (i32.add (local.get $members) (i32.const 4)))))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (br_if $lane
              (i32.and (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3)))))
        (else (local.set $i (i32.add (local.get $i) (i32.const 4)))))
      (br_if $next (i32.lt_u (local.get $i) (local.get $count))))
    (local.get $held))

  ;; Writes the places of the keys above $key, and of those equal to it that stand at $last or before, from $chosen on:
  ;; writes every place, and moves on past those that stay.
  (func (export "choose")
    (param $keys i32) (param $count i32) (param $key i32) (param $last i32) (param $chosen i32)
    (local $i i32) (local $own i32)
    (loop $next
      (local.set $own (i32.load (i32.add (local.get $keys) (i32.shl (local.get $i) (i32.const 2)))))
      (i32.store (local.get $chosen) (local.get $i))
      (local.set $chosen
        (i32.add
          (local.get $chosen)
          (i32.shl
            (i32.or
              (i32.gt_s (local.get $own) (local.get $key))
              (i32.and
                (i32.eq (local.get $own) (local.get $key))
                (i32.le_u (local.get $i) (local.get $last))))
            (i32.const 2))))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $count)))))
)
