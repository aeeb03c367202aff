;; The loops over an arena segment, in place. Addresses and lengths are in bytes; every range starts on a 64-byte
;; boundary and is a multiple of 64 bytes long, so there are no tails. Lengths of 0 are allowed.
;; Plain 128-bit SIMD: relaxed SIMD (fused multiply-add) is not in Node 20.
;;
;; codegen.ts compiles this file after one expansion: what stands between "@repeat 4" and "@end" is written four times,
;; offset=0 becoming offset=0, 16, 32 and 48.
(module
  (import "arena" "memory" (memory 0))

  ;; One step of AdamW (Loshchilov & Hutter, arXiv 1711.05101, algorithm 2), for each element:
  ;;   g  = gradient · gradientScale
  ;;   m += (1 − β1) · (g − m)
  ;;   v  = β2 · v + (1 − β2) · g²
  ;;   p  = keep · p − stepSize · m / (√v · rootScale + ε)
  ;; where keep = 1 − rate · decay, stepSize = rate / (1 − β1^t), rootScale = 1 / √(1 − β2^t).
  ;; Moments below the smallest normal float32 become 0: those of an element that gets no gradient any more (an unused
  ;; row of an embedding) would stay subnormal for ever, where arithmetic is slow, and are nothing beside ε.
  (func (export "adamw")
    (param $values i32) (param $gradients i32) (param $first i32) (param $second i32) (param $bytes i32)
    (param $gradientScale f32) (param $oneMinusBeta1 f32) (param $beta2 f32) (param $oneMinusBeta2 f32)
    (param $keep f32) (param $stepSize f32) (param $rootScale f32) (param $epsilon f32)
    (local $g v128) (local $m v128) (local $v v128)
    (local $scale4 v128) (local $oneMinusBeta1x4 v128) (local $beta2x4 v128) (local $oneMinusBeta2x4 v128)
    (local $keep4 v128) (local $stepSize4 v128) (local $rootScale4 v128) (local $epsilon4 v128)
    (local $normal4 v128)
    (local.set $scale4 (f32x4.splat (local.get $gradientScale)))
    (local.set $oneMinusBeta1x4 (f32x4.splat (local.get $oneMinusBeta1)))
    (local.set $beta2x4 (f32x4.splat (local.get $beta2)))
    (local.set $oneMinusBeta2x4 (f32x4.splat (local.get $oneMinusBeta2)))
    (local.set $keep4 (f32x4.splat (local.get $keep)))
    (local.set $stepSize4 (f32x4.splat (local.get $stepSize)))
    (local.set $rootScale4 (f32x4.splat (local.get $rootScale)))
    (local.set $epsilon4 (f32x4.splat (local.get $epsilon)))
    (local.set $normal4 (f32x4.splat (f32.const 0x1p-126)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $bytes)))
        ;; @repeat 4
        (local.set $g (f32x4.mul (v128.load offset=0 (local.get $gradients)) (local.get $scale4)))
        (local.set $m (v128.load offset=0 (local.get $first)))
        (local.set $m
          (f32x4.add
            (local.get $m)
            (f32x4.mul (local.get $oneMinusBeta1x4) (f32x4.sub (local.get $g) (local.get $m)))))
        (local.set $m
          (v128.andnot (local.get $m) (f32x4.lt (f32x4.abs (local.get $m)) (local.get $normal4))))
        (local.set $v
          (f32x4.add
            (f32x4.mul (local.get $beta2x4) (v128.load offset=0 (local.get $second)))
            (f32x4.mul (local.get $oneMinusBeta2x4) (f32x4.mul (local.get $g) (local.get $g)))))
        (local.set $v (v128.andnot (local.get $v) (f32x4.lt (local.get $v) (local.get $normal4))))
        (v128.store offset=0 (local.get $first) (local.get $m))
        (v128.store offset=0 (local.get $second) (local.get $v))
        (v128.store offset=0
          (local.get $values)
          (f32x4.sub
            (f32x4.mul (local.get $keep4) (v128.load offset=0 (local.get $values)))
            (f32x4.div
              (f32x4.mul (local.get $stepSize4) (local.get $m))
              (f32x4.add
                (f32x4.mul (f32x4.sqrt (local.get $v)) (local.get $rootScale4))
                (local.get $epsilon4)))))
        ;; @end
        (local.set $values (i32.add (local.get $values) (i32.const 64)))
        (local.set $gradients (i32.add (local.get $gradients) (i32.const 64)))
        (local.set $first (i32.add (local.get $first) (i32.const 64)))
        (local.set $second (i32.add (local.get $second) (i32.const 64)))
        (local.set $bytes (i32.sub (local.get $bytes) (i32.const 64)))
        (br $next))))

  ;; Σ x², in float64 from the first product on: it cannot overflow, and its error does not grow with the length.
  (func (export "squareSum") (param $from i32) (param $bytes i32) (result f64)
    (local $at i32) (local $x v128) (local $y v128)
    (local $sum0 v128) (local $sum1 v128) (local $sum2 v128) (local $sum3 v128)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $bytes)))
        (local.set $x (v128.load64_zero (i32.add (local.get $from) (local.get $at))))
        (local.set $x (f64x2.promote_low_f32x4 (local.get $x)))
        (local.set $sum0 (f64x2.add (local.get $sum0) (f64x2.mul (local.get $x) (local.get $x))))
        (local.set $y (v128.load64_zero offset=8 (i32.add (local.get $from) (local.get $at))))
        (local.set $y (f64x2.promote_low_f32x4 (local.get $y)))
        (local.set $sum1 (f64x2.add (local.get $sum1) (f64x2.mul (local.get $y) (local.get $y))))
        (local.set $x (v128.load64_zero offset=16 (i32.add (local.get $from) (local.get $at))))
        (local.set $x (f64x2.promote_low_f32x4 (local.get $x)))
        (local.set $sum2 (f64x2.add (local.get $sum2) (f64x2.mul (local.get $x) (local.get $x))))
        (local.set $y (v128.load64_zero offset=24 (i32.add (local.get $from) (local.get $at))))
        (local.set $y (f64x2.promote_low_f32x4 (local.get $y)))
        (local.set $sum3 (f64x2.add (local.get $sum3) (f64x2.mul (local.get $y) (local.get $y))))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (br $next)))
    (local.set $sum0
      (f64x2.add
        (f64x2.add (local.get $sum0) (local.get $sum1))
        (f64x2.add (local.get $sum2) (local.get $sum3))))
    (f64.add (f64x2.extract_lane 0 (local.get $sum0)) (f64x2.extract_lane 1 (local.get $sum0))))

  ;; into += from
  (func (export "accumulate") (param $into i32) (param $from i32) (param $bytes i32)
    (local $at i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $bytes)))
        (v128.store
          (i32.add (local.get $into) (local.get $at))
          (f32x4.add
            (v128.load (i32.add (local.get $into) (local.get $at)))
            (v128.load (i32.add (local.get $from) (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $next))))

  ;; average = decay · average + (1 − decay) · values; decay 0 copies exactly.
  (func (export "average")
    (param $average i32) (param $values i32) (param $bytes i32) (param $decay f32) (param $oneMinusDecay f32)
    (local $at i32) (local $decay4 v128) (local $oneMinusDecay4 v128)
    (local.set $decay4 (f32x4.splat (local.get $decay)))
    (local.set $oneMinusDecay4 (f32x4.splat (local.get $oneMinusDecay)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $bytes)))
        (v128.store
          (i32.add (local.get $average) (local.get $at))
          (f32x4.add
            (f32x4.mul (local.get $decay4) (v128.load (i32.add (local.get $average) (local.get $at))))
            (f32x4.mul (local.get $oneMinusDecay4) (v128.load (i32.add (local.get $values) (local.get $at))))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $next)))))
