;; The loops over a rank's memory. Addresses are in bytes and need no alignment; `count` is a number of elements and a
;; multiple of 16, which the callers see to. Lengths of 0 are allowed. `into` may be the same address as `a`.
;;
;; codegen.ts compiles this file after two expansions: what stands between "@each OP in add max" and "@end" is written
;; once for each word, put in the place of "@OP"; a call of a function marked "@inline" becomes its body, as the runtime
;; would not do (a call for every four elements halves the speed). Who calls one declares its locals, $bits, $x and so on.
;; A function is named after the wire format that it reads or writes; without one it is float32 throughout.
(module
  ;; As large as a WebAssembly memory can be: an instance takes any smaller one.
  (import "group" "memory" (memory 1 65536 shared))

  ;; into = a + b, or the larger of both; NaN wins.
  ;; @each OP in add max
  (func (export "@OP") (param $into i32) (param $a i32) (param $b i32) (param $count i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (v128.store (local.get $into) (f32x4.@OP (v128.load (local.get $a)) (v128.load (local.get $b))))
        (v128.store offset=16
          (local.get $into)
          (f32x4.@OP (v128.load offset=16 (local.get $a)) (v128.load offset=16 (local.get $b))))
        (v128.store offset=32
          (local.get $into)
          (f32x4.@OP (v128.load offset=32 (local.get $a)) (v128.load offset=32 (local.get $b))))
        (v128.store offset=48
          (local.get $into)
          (f32x4.@OP (v128.load offset=48 (local.get $a)) (v128.load offset=48 (local.get $b))))
        (local.set $into (i32.add (local.get $into) (i32.const 64)))
        (local.set $a (i32.add (local.get $a) (i32.const 64)))
        (local.set $b (i32.add (local.get $b) (i32.const 64)))
        (local.set $count (i32.sub (local.get $count) (i32.const 16)))
        (br $next))))
  ;; @end

  ;; a = b = … = factor · (a + b + …), or the largest: read once, written once.
  ;; @each OP in add max
  (func (export "@OP_all2") (param $a i32) (param $b i32) (param $factor f32) (param $count i32)
    (local $factor4 v128) (local $x v128)
    (local.set $factor4 (f32x4.splat (local.get $factor)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $x
          (f32x4.mul
            (local.get $factor4)
            (f32x4.@OP
              (v128.load (local.get $a))
              (v128.load (local.get $b)))))
        (v128.store (local.get $a) (local.get $x))
        (v128.store (local.get $b) (local.get $x))
        (local.set $a (i32.add (local.get $a) (i32.const 16)))
        (local.set $b (i32.add (local.get $b) (i32.const 16)))
        (local.set $count (i32.sub (local.get $count) (i32.const 4)))
        (br $next))))

  (func (export "@OP_all3") (param $a i32) (param $b i32) (param $c i32) (param $factor f32) (param $count i32)
    (local $factor4 v128) (local $x v128)
    (local.set $factor4 (f32x4.splat (local.get $factor)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $x
          (f32x4.mul
            (local.get $factor4)
            (f32x4.@OP
              (f32x4.@OP
                (v128.load (local.get $a))
                (v128.load (local.get $b)))
              (v128.load (local.get $c)))))
        (v128.store (local.get $a) (local.get $x))
        (v128.store (local.get $b) (local.get $x))
        (v128.store (local.get $c) (local.get $x))
        (local.set $a (i32.add (local.get $a) (i32.const 16)))
        (local.set $b (i32.add (local.get $b) (i32.const 16)))
        (local.set $c (i32.add (local.get $c) (i32.const 16)))
        (local.set $count (i32.sub (local.get $count) (i32.const 4)))
        (br $next))))

  (func (export "@OP_all4") (param $a i32) (param $b i32) (param $c i32) (param $d i32) (param $factor f32) (param $count i32)
    (local $factor4 v128) (local $x v128)
    (local.set $factor4 (f32x4.splat (local.get $factor)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $x
          (f32x4.mul
            (local.get $factor4)
            (f32x4.@OP
              (f32x4.@OP
                (f32x4.@OP
                  (v128.load (local.get $a))
                  (v128.load (local.get $b)))
                (v128.load (local.get $c)))
              (v128.load (local.get $d)))))
        (v128.store (local.get $a) (local.get $x))
        (v128.store (local.get $b) (local.get $x))
        (v128.store (local.get $c) (local.get $x))
        (v128.store (local.get $d) (local.get $x))
        (local.set $a (i32.add (local.get $a) (i32.const 16)))
        (local.set $b (i32.add (local.get $b) (i32.const 16)))
        (local.set $c (i32.add (local.get $c) (i32.const 16)))
        (local.set $d (i32.add (local.get $d) (i32.const 16)))
        (local.set $count (i32.sub (local.get $count) (i32.const 4)))
        (br $next))))
  ;; @end

  ;; into = from, `count` float32; a function call to the platform's memmove.
  (func (export "copy") (param $into i32) (param $from i32) (param $count i32)
    (memory.copy (local.get $into) (local.get $from) (i32.shl (local.get $count) (i32.const 2))))

  ;; into = factor · into
  (func (export "scale") (param $into i32) (param $factor f32) (param $count i32)
    (local $factor4 v128)
    (local.set $factor4 (f32x4.splat (local.get $factor)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (v128.store (local.get $into) (f32x4.mul (v128.load (local.get $into)) (local.get $factor4)))
        (local.set $into (i32.add (local.get $into) (i32.const 16)))
        (local.set $count (i32.sub (local.get $count) (i32.const 4)))
        (br $next))))

  ;; Four 16-bit floats, each in the low half of a lane, to float32.
  ;; @inline
  (func $widen_bfloat16 (param $bits v128) (result v128)
    (i32x4.shl (local.get $bits) (i32.const 16)))

  ;; Exponent and mantissa move to float32's place; a multiplication by 2^112 corrects the exponent's bias, subnormals
  ;; included. Infinity and NaN have all exponent bits set.
  ;; @inline
  (func $widen_float16 (param $bits v128) (result v128)
    (local $magnitude v128)
    (local.set $magnitude
      (i32x4.shl (v128.and (local.get $bits) (i32x4.splat (i32.const 0x7fff))) (i32.const 13)))
    (v128.or
      (i32x4.shl (v128.and (local.get $bits) (i32x4.splat (i32.const 0x8000))) (i32.const 16))
      (v128.or
        (f32x4.mul (local.get $magnitude) (f32x4.splat (f32.const 0x1p112)))
        (v128.and
          (i32x4.ge_s (local.get $magnitude) (i32x4.splat (i32.const 0x0f800000)))
          (i32x4.splat (i32.const 0x7f800000))))))

  ;; Four float32 to 16-bit floats, each in the low half of a lane, rounded to nearest, ties to even. NaN stays NaN.
  ;; @inline
  (func $narrow_bfloat16 (param $x v128) (result v128)
    (v128.bitselect
      (v128.or (i32x4.shr_u (local.get $x) (i32.const 16)) (i32x4.splat (i32.const 0x40)))
      (i32x4.shr_u
        (i32x4.add
          (i32x4.add (local.get $x) (i32x4.splat (i32.const 0x7fff)))
          (v128.and (i32x4.shr_u (local.get $x) (i32.const 16)) (i32x4.splat (i32.const 1))))
        (i32.const 16))
      (f32x4.ne (local.get $x) (local.get $x))))

  ;; Three ranges of magnitude: subnormal halves (adding 0.5 puts their last bit at float32's last bit, so that the
  ;; addition itself rounds), normal ones, and what overflows to infinity.
  ;; @inline
  (func $narrow_float16 (param $x v128) (result v128)
    (local $magnitude v128) (local $half v128)
    (local.set $magnitude (v128.and (local.get $x) (i32x4.splat (i32.const 0x7fffffff))))
    (local.set $half
      (i32x4.shr_u
        (i32x4.add
          (i32x4.sub (local.get $magnitude) (i32x4.splat (i32.const 0x38000000)))
          (i32x4.add
            (i32x4.splat (i32.const 0xfff))
            (v128.and (i32x4.shr_u (local.get $magnitude) (i32.const 13)) (i32x4.splat (i32.const 1)))))
        (i32.const 13)))
    (local.set $half
      (v128.bitselect
        (i32x4.sub
          (f32x4.add (local.get $magnitude) (f32x4.splat (f32.const 0.5)))
          (i32x4.splat (i32.const 0x3f000000)))
        (local.get $half)
        (i32x4.lt_s (local.get $magnitude) (i32x4.splat (i32.const 0x38800000)))))
    (local.set $half
      (v128.bitselect
        (i32x4.splat (i32.const 0x7c00))
        (local.get $half)
        (i32x4.ge_s (local.get $magnitude) (i32x4.splat (i32.const 0x477ff000)))))
    (local.set $half
      (v128.bitselect
        (i32x4.splat (i32.const 0x7e00))
        (local.get $half)
        (i32x4.gt_s (local.get $magnitude) (i32x4.splat (i32.const 0x7f800000)))))
    (v128.or
      (local.get $half)
      (v128.and (i32x4.shr_u (local.get $x) (i32.const 16)) (i32x4.splat (i32.const 0x8000)))))

  ;; @each T in bfloat16 float16
  ;; into = float32 of the 16-bit floats at `from`
  (func (export "decode_@T") (param $into i32) (param $from i32) (param $count i32)
    (local $bits v128) (local $magnitude v128)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (v128.store (local.get $into) (call $widen_@T (v128.load16x4_u (local.get $from))))
        (v128.store offset=16 (local.get $into) (call $widen_@T (v128.load16x4_u offset=8 (local.get $from))))
        (local.set $into (i32.add (local.get $into) (i32.const 32)))
        (local.set $from (i32.add (local.get $from) (i32.const 16)))
        (local.set $count (i32.sub (local.get $count) (i32.const 8)))
        (br $next))))

  ;; into = 16-bit floats of the float32 at `from`
  (func (export "encode_@T") (param $into i32) (param $from i32) (param $count i32)
    (local $x v128) (local $magnitude v128) (local $half v128)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (v128.store
          (local.get $into)
          (i16x8.narrow_i32x4_u
            (call $narrow_@T (v128.load (local.get $from)))
            (call $narrow_@T (v128.load offset=16 (local.get $from)))))
        (local.set $into (i32.add (local.get $into) (i32.const 16)))
        (local.set $from (i32.add (local.get $from) (i32.const 32)))
        (local.set $count (i32.sub (local.get $count) (i32.const 8)))
        (br $next))))

  ;; into += the 16-bit floats at `from`, in float32
  (func (export "add_@T") (param $into i32) (param $from i32) (param $count i32)
    (local $bits v128) (local $magnitude v128)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (v128.store
          (local.get $into)
          (f32x4.add (v128.load (local.get $into)) (call $widen_@T (v128.load16x4_u (local.get $from)))))
        (v128.store offset=16
          (local.get $into)
          (f32x4.add
            (v128.load offset=16 (local.get $into))
            (call $widen_@T (v128.load16x4_u offset=8 (local.get $from)))))
        (local.set $into (i32.add (local.get $into) (i32.const 32)))
        (local.set $from (i32.add (local.get $from) (i32.const 16)))
        (local.set $count (i32.sub (local.get $count) (i32.const 8)))
        (br $next))))

  ;; into = the larger of into and the 16-bit floats at `from`
  (func (export "max_@T") (param $into i32) (param $from i32) (param $count i32)
    (local $bits v128) (local $magnitude v128)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (v128.store
          (local.get $into)
          (f32x4.max (v128.load (local.get $into)) (call $widen_@T (v128.load16x4_u (local.get $from)))))
        (v128.store offset=16
          (local.get $into)
          (f32x4.max
            (v128.load offset=16 (local.get $into))
            (call $widen_@T (v128.load16x4_u offset=8 (local.get $from)))))
        (local.set $into (i32.add (local.get $into) (i32.const 32)))
        (local.set $from (i32.add (local.get $from) (i32.const 16)))
        (local.set $count (i32.sub (local.get $count) (i32.const 8)))
        (br $next))))
  ;; @end
)
