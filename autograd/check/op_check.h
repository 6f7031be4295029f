// How a registry row checks an op; see op_registry.h.
#ifndef WYVERN_AUTOGRAD_CHECK_OP_CHECK_H_
#define WYVERN_AUTOGRAD_CHECK_OP_CHECK_H_

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/check/op_case.h"
#include "autograd/check/op_registry.h"

namespace wyvern {

// RMS(x - reference) / RMS(reference), both fp64 on the CPU; the absolute RMS where the reference
// is all zero. NaN if x holds one.
double RelativeRmsError(const Tensor& x, const Tensor& reference);
bool BitwiseEqual(const Tensor& a, const Tensor& b);

// `t` rounded to `dtype` and moved to `device`; undefined stays undefined.
Tensor ToTypeOn(const Tensor& t, DType dtype, Device device);

constexpr DType DTypeOfRole(Role role, DType io) {
  if (role == Role::kIndex) return DType::kInt32;
  return role == Role::kIo ? io : AccDType(io);
}

template <class Op>
struct OpRun {
  typename Op::template Outputs<Tensor> out;
  typename Op::template Inputs<Tensor> grad;
};

template <class Op>
typename Op::Params ParamsOn(typename Op::Params params, Device device) {
  if constexpr (requires { params.MoveTo(device); }) params.MoveTo(device);
  return params;
}

// Tells an op whose forward already works on its gradients which of them will be asked for.
template <class Op>
void SetWanted(const typename Op::template Inputs<GradRequest>& want, typename Op::Saved* saved) {
  if constexpr (requires { saved->wanted; }) {
    ForEachField(
        [](const char*, bool& wanted, const GradRequest& request) { wanted = request.wanted; },
        saved->wanted, want);
  }
}

// Columns, among others, that have room for the elements of `t`, [first axis, the others].
inline Tensor ColumnsFor(const Tensor& t, DType dtype, Device device) {
  constexpr int64_t kBefore = 8, kAfter = 16;  // columns of other things
  const int64_t n = t.numel() / t.dim(0);
  return Tensor::Empty({t.dim(0), kBefore + n + kAfter}, dtype, device)
      .Columns(kBefore, kBefore + n);
}

// Whether the input at position i may be a view of columns.
template <class Op>
constexpr bool ReadsColumns([[maybe_unused]] size_t i) {
  if constexpr (requires { Op::kReadsColumns; }) return Op::kReadsColumns[i];
  return false;
}

// How RunOp calls an op.
enum class CallForm {
  kPlain,
  kAccumulate,  // gradients are requested into buffers as for parameters, zeroed or, where the op
                // overwrites, cleared
  kColumns,     // inputs that may be are views of columns, their gradients asked for likewise
};

// Forward and backward with inputs and cotangents rounded to `io`'s types.
template <class Op>
OpRun<Op> RunOp(const OpCase<Op>& c, const typename Op::template Outputs<Tensor>& cotangents,
                Device device, DType io, CallForm form) {
  typename Op::template Inputs<Tensor> in;
  typename Op::template Inputs<GradRequest> want;
  bool cleared[kNumFields<typename Op::template Inputs<Tensor>>] = {};
  size_t i = 0;
  ForEachField(
      [&](const char*, Tensor& to, const Tensor& from, GradRequest& request) {
        const DType dtype = DTypeOfRole(Op::kInputRoles[i], io);
        const bool columns = form == CallForm::kColumns && ReadsColumns<Op>(i) && from.defined() &&
                             from.rank() >= 2 && from.numel() > 0;
        ++i;
        if (!from.defined()) return;
        to = ToTypeOn(from, dtype, device);
        request.wanted = true;
        if (form == CallForm::kAccumulate) {
          request.into = Tensor::Zeros(from.shape(), AccDType(io), device);
          if constexpr (requires { Op::kOverwrites; }) {
            FillBytes(request.into.raw(), device, 0xff, request.into.nbytes());
            cleared[i - 1] = true;
            request.cleared = &cleared[i - 1];
          }
        }
        if (columns) {
          const Tensor view = ColumnsFor(from, dtype, device);
          view.CopyFrom(to.Reshape(view.shape()));
          to = view.Reshape(from.shape());
          request.place = ColumnsFor(from, dtype, device);
        }
      },
      in, c.in, want);
  const typename Op::Params params = ParamsOn<Op>(c.params, device);
  typename Op::Saved saved;
  SetWanted<Op>(want, &saved);
  OpRun<Op> run;
  run.out = Op::Forward(in, params, &saved);
  typename Op::template Outputs<Tensor> d_out;
  i = 0;
  ForEachField(
      [&](const char* name, Tensor& to, const Tensor& from, const Tensor& out) {
        const DType dtype = DTypeOfRole(Op::kOutputRoles[i++], io);
        if (!out.defined()) return;
        CHECK(out.dtype() == dtype, Op::kName, ": output ", name, " is ", Name(out.dtype()),
              ", its role says ", Name(dtype));
        if (!from.defined()) return;
        to = ToTypeOn(from, dtype, device);
      },
      d_out, cotangents, run.out);
  run.grad = Op::Backward(saved, d_out, want);
  ForEachField(
      [&](const char* name, Tensor& grad, const Tensor& x, const GradRequest& request) {
        if (!x.defined()) return;
        if (request.cleared != nullptr && *request.cleared) request.into.FillZero();
        if (grad.defined() && request.place.defined() && grad.SharesStorageWith(request.place)) {
          grad = grad.Contiguous().Reshape(x.shape());
        } else if (grad.defined()) {
          CHECK(grad.shape() == x.shape(), Op::kName, ": gradient of ", name, " has shape ",
                ToString(grad.shape()), ", the input ", ToString(x.shape()));
        } else {
          grad = request.into.defined() ? request.into : Tensor::ZerosLike(x);
        }
      },
      run.grad, in, want);
  return run;
}

// The case with inputs rounded to what a run in `io` sees, in fp64.
template <class Op>
OpCase<Op> Rounded(OpCase<Op> c, DType io) {
  size_t i = 0;
  ForEachField(
      [&](const char*, Tensor& t) {
        t = t.To(DTypeOfRole(Op::kInputRoles[i++], io)).To(DType::kFloat64);
      },
      c.in);
  return c;
}

// Random cotangents for the case's outputs, rounded likewise.
template <class Op>
typename Op::template Outputs<Tensor> MakeCotangents(const OpCase<Op>& c, DType io) {
  const auto out = Op::Forward(c.in, c.params, nullptr);
  CaseRandom random(absl::StrCat(Op::kName, "/", c.name));
  typename Op::template Outputs<Tensor> cotangents;
  size_t i = 0;
  ForEachField(
      [&](const char* name, Tensor& d, const Tensor& y) {
        const DType dtype = DTypeOfRole(Op::kOutputRoles[i++], io);
        const auto& unused = c.unused_outputs;
        if (dtype == DType::kInt32) return;
        if (std::find(unused.begin(), unused.end(), name) != unused.end()) return;
        if (y.defined()) d = random.Normal(y.shape()).To(dtype).To(DType::kFloat64);
      },
      cotangents, out);
  return cotangents;
}

// sum over outputs of <output, cotangent>.
template <class Op>
double Objective(const typename Op::template Inputs<Tensor>& in, const typename Op::Params& params,
                 const typename Op::template Outputs<Tensor>& cotangents) {
  const auto out = Op::Forward(in, params, nullptr);
  long double sum = 0;
  ForEachField(
      [&](const char*, const Tensor& y, const Tensor& d) {
        for (int64_t i = 0; d.defined() && i < y.numel(); ++i) {
          sum +=
              static_cast<long double>(y.template data<double>()[i]) * d.template data<double>()[i];
        }
      },
      out, cotangents);
  return static_cast<double>(sum);
}

// Compares each gradient with fourth-order central differences, along single elements and along
// random directions.
template <class Op>
void CheckFiniteDifferences(const OpCase<Op>& c, std::vector<CheckResult>* results) {
  constexpr double kStep = 1e-3;
  constexpr int kDirections = 3;
  constexpr int64_t kMaxElements = 12;
  const auto cotangents = MakeCotangents(c, DType::kFloat64);
  const OpRun<Op> run = RunOp(c, cotangents, Device::kCpu, DType::kFloat64, CallForm::kPlain);
  CaseRandom random(absl::StrCat("differences/", Op::kName, "/", c.name));
  typename Op::template Inputs<Tensor> probe = c.in;
  ForEachField(
      [&](const char* name, Tensor& x, const Tensor& grad) {
        if (!x.defined() || x.numel() == 0) return;
        const Tensor at = x;
        std::vector<Tensor> directions;
        for (int i = 0; i < kDirections; ++i) directions.push_back(random.Normal(at.shape()));
        for (int64_t i = 0; i < std::min(kMaxElements, at.numel()); ++i) {
          Tensor unit = Tensor::ZerosLike(at);
          unit.data<double>()[at.numel() <= kMaxElements ? i : random.Below(at.numel())] = 1;
          directions.push_back(unit);
        }
        double square_error = 0, square = 0;
        for (const Tensor& direction : directions) {
          const auto objective_at = [&](double step) {
            x = at.Clone();
            for (int64_t i = 0; i < x.numel(); ++i) {
              x.data<double>()[i] += step * direction.data<double>()[i];
            }
            return Objective<Op>(probe, c.params, cotangents);
          };
          const double numeric = (8 * (objective_at(kStep) - objective_at(-kStep)) -
                                  (objective_at(2 * kStep) - objective_at(-2 * kStep))) /
                                 (12 * kStep);
          double analytic = 0;
          for (int64_t i = 0; i < at.numel(); ++i) {
            analytic += grad.data<double>()[i] * direction.data<double>()[i];
          }
          square_error += (numeric - analytic) * (numeric - analytic);
          square += analytic * analytic;
        }
        x = at;
        const double error =
            square > 0 ? std::sqrt(square_error / square) : std::sqrt(square_error);
        results->push_back({Op::kName, c.name, "finite differences", absl::StrCat("d_", name),
                            error, c.gradient_tolerance});
      },
      probe, run.grad);
}

// Whether Recompute, and BackwardAndRecompute if the op has it, give the outputs and gradients of
// Forward and Backward.
template <class Op>
bool RecomputesAllBits(const OpCase<Op>& c, const typename Op::template Outputs<Tensor>& cotangents,
                       Device device, DType io) {
  typename Op::template Inputs<Tensor> in;
  typename Op::template Inputs<GradRequest> want;
  size_t i = 0;
  ForEachField(
      [&](const char*, Tensor& to, const Tensor& from, GradRequest& request) {
        const DType dtype = DTypeOfRole(Op::kInputRoles[i++], io);
        if (from.defined()) to = ToTypeOn(from, dtype, device);
        request.wanted = from.defined();
      },
      in, c.in, want);
  typename Op::Saved saved;
  const auto out = Op::Forward(in, ParamsOn<Op>(c.params, device), &saved);
  const auto empty = [&] {
    typename Op::template Outputs<Tensor> values;
    size_t j = 0;
    ForEachField(
        [&](const char*, Tensor& value, const Tensor& y) {
          if (Op::kRecomputed[j++] && y.defined()) value = Tensor::EmptyLike(y);
        },
        values, out);
    return values;
  };
  bool equal = true;
  const auto same = [&](const char*, const Tensor& a, const Tensor& b) {
    equal = equal && (!a.defined() || BitwiseEqual(a, b));
  };
  const auto again = empty();
  Op::Recompute(saved, again);
  ForEachField(same, again, out);
  if constexpr (requires { &Op::BackwardAndRecompute; }) {
    typename Op::template Outputs<Tensor> d_out;
    size_t j = 0;
    ForEachField(
        [&](const char*, Tensor& to, const Tensor& from, const Tensor& y) {
          const DType dtype = DTypeOfRole(Op::kOutputRoles[j++], io);
          if (y.defined()) to = ToTypeOn(from, dtype, device);
        },
        d_out, cotangents, out);
    const auto besides = empty();
    const auto grad = Op::BackwardAndRecompute(saved, d_out, want, besides);
    ForEachField(same, besides, out);
    ForEachField(same, grad, Op::Backward(saved, d_out, want));
  }
  return equal;
}

// Compares outputs and each gradient of a run in `io` on `device` with the CPU in fp64; on CUDA
// also repeats the run and compares bits.
template <class Op>
void CheckAgainstOracle(const OpCase<Op>& original, Device device, DType io,
                        std::vector<CheckResult>* results) {
  const OpCase<Op> c = Rounded(original, io);
  const auto cotangents = MakeCotangents(c, io);
  const OpRun<Op> oracle = RunOp(c, cotangents, Device::kCpu, DType::kFloat64, CallForm::kPlain);
  const std::string check = absl::StrCat(Name(device), " ", Name(io));
  const bool bf16 = io == DType::kBf16;
  const auto compare = [&](const OpRun<Op>& run, const std::string& label, bool outputs) {
    const auto one = [&](const std::string& quantity, const Tensor& x, const Tensor& reference) {
      if (!x.defined()) return;
      if (x.dtype() == DType::kInt32) {
        const double error = BitwiseEqual(x, reference) ? 0 : 1;
        results->push_back({Op::kName, c.name, label, quantity, error, 0});
        return;
      }
      const auto& special = bf16 ? c.bf16_tolerances : c.fp32_tolerances;
      const auto found = special.find(quantity);
      const double limit = found != special.end() ? found->second
                           : bf16                 ? c.bf16_tolerance
                                                  : c.fp32_tolerance;
      const double error = RelativeRmsError(x.To(Device::kCpu).To(DType::kFloat64), reference);
      results->push_back({Op::kName, c.name, label, quantity, error, limit});
    };
    if (outputs) {
      ForEachField([&](const char* name, const Tensor& x, const Tensor& ref) { one(name, x, ref); },
                   run.out, oracle.out);
    }
    ForEachField([&](const char* name, const Tensor& x,
                     const Tensor& ref) { one(absl::StrCat("d_", name), x, ref); },
                 run.grad, oracle.grad);
  };
  SetPoison(true);
  const OpRun<Op> run = RunOp(c, cotangents, device, io, CallForm::kPlain);
  compare(run, check, true);
  compare(RunOp(c, cotangents, device, io, CallForm::kAccumulate),
          absl::StrCat(check, ", accumulated"), false);
  if constexpr (requires { Op::kReadsColumns; }) {
    compare(RunOp(c, cotangents, device, io, CallForm::kColumns), absl::StrCat(check, ", columns"),
            true);
  }
  if constexpr (requires { Op::kRecompute; }) {
    results->push_back({Op::kName, c.name, absl::StrCat(check, ", recomputed"), "all",
                        RecomputesAllBits(c, cotangents, device, io) ? 0.0 : 1.0, 0.0});
  }
  if (device == Device::kCuda) {
    bool equal = true;
    for (int repeat = 0; repeat < 3; ++repeat) {
      const OpRun<Op> again = RunOp(c, cotangents, device, io, CallForm::kPlain);
      const auto same = [&](const char*, const Tensor& a, const Tensor& b) {
        equal = equal && (!a.defined() || BitwiseEqual(a, b));
      };
      ForEachField(same, run.out, again.out);
      ForEachField(same, run.grad, again.grad);
    }
    results->push_back(
        {Op::kName, c.name, absl::StrCat(check, ", repeated"), "all", equal ? 0.0 : 1.0, 0.0});
  }
  SetPoison(false);
}

template <class Op>
std::vector<CheckResult> CheckOp(Device device) {
  std::vector<CheckResult> results;
  for (const OpCase<Op>& c : Op::Cases()) {
    if (device == Device::kCpu) {
      if (c.finite_differences) CheckFiniteDifferences(c, &results);
      CheckAgainstOracle(c, Device::kCpu, DType::kFloat32, &results);
    } else {
      CheckAgainstOracle(c, Device::kCuda, DType::kFloat32, &results);
      CheckAgainstOracle(c, Device::kCuda, DType::kBf16, &results);
    }
  }
  return results;
}

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_CHECK_OP_CHECK_H_
