#include "trainer/optimizer/muon.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "autograd/check/op_check.h"
#include "tests/trainer/state_checks.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/optimizer/newton_schulz.h"
#include "trainer/optimizer/optimizer.h"

namespace wyvern {
namespace {

using Matrix = std::vector<std::vector<double>>;

Matrix ToMatrix(const double* values, int64_t rows, int64_t columns) {
  Matrix matrix(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) {
    matrix[static_cast<size_t>(i)].assign(values + i * columns, values + (i + 1) * columns);
  }
  return matrix;
}

Matrix Transposed(const Matrix& x) {
  Matrix y(x[0].size(), std::vector<double>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t j = 0; j < x[0].size(); ++j) y[j][i] = x[i][j];
  }
  return y;
}

Matrix Product(const Matrix& x, const Matrix& y) {
  Matrix z(x.size(), std::vector<double>(y[0].size()));
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t k = 0; k < y.size(); ++k) {
      for (size_t j = 0; j < y[0].size(); ++j) z[i][j] += x[i][k] * y[k][j];
    }
  }
  return z;
}

// The steps as the papers print them: X = a X + (b A + c A^2) X with A = X X^T, transposed first if
// there are more rows than columns.
Matrix PlainNewtonSchulz(Matrix x) {
  const bool tall = x.size() > x[0].size();
  if (tall) x = Transposed(x);
  double squares = 0;
  for (const auto& row : x) {
    for (const double v : row) squares += v * v;
  }
  for (auto& row : x) {
    for (double& v : row) v /= std::sqrt(squares) + 1e-7;
  }
  for (int step = 0; step < 5; ++step) {
    const Matrix a = Product(x, Transposed(x)), a2 = Product(a, a);
    Matrix b = a;
    for (size_t i = 0; i < b.size(); ++i) {
      for (size_t j = 0; j < b.size(); ++j) b[i][j] = -4.7750 * a[i][j] + 2.0315 * a2[i][j];
    }
    Matrix next = Product(b, x);
    for (size_t i = 0; i < x.size(); ++i) {
      for (size_t j = 0; j < x[0].size(); ++j) next[i][j] += 3.4445 * x[i][j];
    }
    x = next;
  }
  return tall ? Transposed(x) : x;
}

struct Places {
  Device device;
  DType type;
  double tolerance;
};

std::vector<Places> AllPlaces() {
  std::vector<Places> all = {{Device::kCpu, DType::kFloat64, 1e-11},
                             {Device::kCpu, DType::kFloat32, 1e-4}};
  if (CudaAvailable()) all.push_back({Device::kCuda, DType::kBf16, 3e-2});
  return all;
}

Tensor Orthogonalized(const Tensor& x, const Places& place) {
  const Tensor y = ToTypeOn(x, place.type, place.device).Clone();
  NewtonSchulz(y);
  return y.To(Device::kCpu).To(DType::kFloat64);
}

TEST(NewtonSchulz, FollowsThePlainFormulaOfEachMatrix) {
  for (const Places& place : AllPlaces()) {
    for (const Shape& shape :
         {Shape{1, 16, 16}, Shape{3, 8, 24}, Shape{4, 24, 8}, Shape{2, 1, 8}, Shape{2, 33, 17}}) {
      SCOPED_TRACE(ToString(shape));
      CaseRandom random("newton-schulz");
      const Tensor x = random.Normal(shape, 0, 3e-3).To(place.type).To(DType::kFloat64);
      const Tensor expected = Tensor::EmptyLike(x);
      const int64_t size = shape[1] * shape[2];
      for (int64_t b = 0; b < shape[0]; ++b) {
        const Matrix o =
            PlainNewtonSchulz(ToMatrix(x.data<double>() + b * size, shape[1], shape[2]));
        for (int64_t i = 0; i < size; ++i) {
          expected.data<double>()[b * size + i] =
              o[static_cast<size_t>(i / shape[2])][static_cast<size_t>(i % shape[2])];
        }
      }
      EXPECT_LE(RelativeRmsError(Orthogonalized(x, place), expected), place.tolerance);
    }
  }
}

// Eigenvalues of a symmetric matrix, by Jacobi's rotations.
std::vector<double> Eigenvalues(Matrix a) {
  const size_t n = a.size();
  for (int sweep = 0; sweep < 30; ++sweep) {
    for (size_t p = 0; p < n; ++p) {
      for (size_t q = p + 1; q < n; ++q) {
        const double angle = 0.5 * std::atan2(2 * a[p][q], a[q][q] - a[p][p]);
        const double c = std::cos(angle), s = std::sin(angle);
        for (size_t k = 0; k < n; ++k) {
          const double x = a[k][p], y = a[k][q];
          a[k][p] = c * x - s * y;
          a[k][q] = s * x + c * y;
        }
        for (size_t k = 0; k < n; ++k) {
          const double x = a[p][k], y = a[q][k];
          a[p][k] = c * x - s * y;
          a[q][k] = s * x + c * y;
        }
      }
    }
  }
  std::vector<double> values;
  for (size_t i = 0; i < n; ++i) values.push_back(a[i][i]);
  return values;
}

// A random matrix that is not square has no small singular value, so all end where the polynomial
// takes them: the rows of a wide one, the columns of a tall one are near orthonormal.
TEST(NewtonSchulz, MakesRowsOrColumnsOrthonormal) {
  for (const Places& place : AllPlaces()) {
    for (const Shape& shape : {Shape{2, 16, 64}, Shape{2, 64, 16}}) {
      CaseRandom random("orthonormal");
      const Tensor y = Orthogonalized(random.Normal(shape), place);
      for (int64_t b = 0; b < shape[0]; ++b) {
        Matrix o = ToMatrix(y.data<double>() + b * shape[1] * shape[2], shape[1], shape[2]);
        if (shape[1] > shape[2]) o = Transposed(o);
        for (const double squared : Eigenvalues(Product(o, Transposed(o)))) {
          EXPECT_GT(std::sqrt(squared), 0.68 - place.tolerance);
          EXPECT_LT(std::sqrt(squared), 1.21 + place.tolerance);
        }
      }
    }
  }
}

TEST(NewtonSchulz, TheResultDependsOnDirectionsAlone) {
  CaseRandom random("scale");
  const Tensor x = random.Normal({1, 8, 12}), tiny = x.Clone();
  for (int64_t i = 0; i < x.numel(); ++i) tiny.data<double>()[i] *= 1e-3;
  const Places place{Device::kCpu, DType::kFloat64, 0};
  // The epsilon of the norm leaves this of the scale.
  EXPECT_LE(RelativeRmsError(Orthogonalized(tiny, place), Orthogonalized(x, place)), 1e-4);
  const Tensor zero = Tensor::ZerosLike(x);
  EXPECT_TRUE(BitwiseEqual(Orthogonalized(zero, place), zero));
}

TEST(NewtonSchulz, CountsTheProductsOfTheSmallerSide) {
  EXPECT_EQ(NewtonSchulzFlops(4, 4), 5 * 6 * 64);
  EXPECT_EQ(NewtonSchulzFlops(2, 8), 5 * (4 * 4 * 8 + 2 * 8));
  EXPECT_EQ(NewtonSchulzFlops(8, 2), NewtonSchulzFlops(2, 8));
}

OptimizerSection MuonOptions() {
  OptimizerSection options;
  options.type = OptimizerType::kMuon;
  options.weight_decay = 0.1;
  return options;
}

std::unique_ptr<Model> MakeModel(DType type) {
  auto model = Model::Create(TinyConfig(50), Device::kCpu, type);
  model->Initialize(1);
  return model;
}

// The same gradients for every run of `step`.
void SetGradients(Model* model, int64_t step, double scale) {
  model->ZeroGradients();
  for (const Parameter* p : model->parameters()) {
    CaseRandom random(absl::StrCat(p->name, step));
    p->var.grad().CopyFrom(random.Normal(p->shape, 0, scale));
  }
}

std::map<std::string, std::vector<double>> Masters(Model* model) {
  std::map<std::string, std::vector<double>> masters;
  for (const Parameter* p : model->parameters()) {
    masters[p->name] = p->master.To(DType::kFloat64).ToVector<double>();
  }
  return masters;
}

TEST(Muon, StepsFollowAPlainReferenceInFp64) {
  auto model = MakeModel(DType::kFloat64), adamw_model = MakeModel(DType::kFloat64);
  Optimizer optimizer(model.get(), MuonOptions());
  OptimizerSection adamw_options = MuonOptions();
  adamw_options.type = OptimizerType::kAdamW;
  Optimizer adamw(adamw_model.get(), adamw_options);
  auto expected = Masters(model.get());
  std::map<std::string, std::vector<double>> momenta;
  constexpr double kLr = 0.02, kMaxNorm = 0.5;
  for (int64_t step = 1; step <= 3; ++step) {
    SetGradients(model.get(), step, 0.1);
    SetGradients(adamw_model.get(), step, 0.1);
    double squares = 0;
    for (const Parameter* p : model->parameters()) {
      for (const double g : p->var.grad().ToVector<double>()) squares += g * g;
    }
    const double clip = kMaxNorm / (std::sqrt(squares) + 1e-6);
    ASSERT_LT(clip, 1);
    for (const Parameter* p : model->parameters()) {
      if (p->kind != ParameterKind::kMatrix) continue;
      std::vector<double>& w = expected[p->name];
      std::vector<double>& m = momenta[p->name];
      m.resize(w.size());
      const std::vector<double> grad = p->var.grad().ToVector<double>();
      std::vector<double> nesterov(w.size());
      for (size_t i = 0; i < w.size(); ++i) {
        m[i] = 0.95 * m[i] + clip * grad[i];
        nesterov[i] = clip * grad[i] + 0.95 * m[i];
      }
      const Matrix o = PlainNewtonSchulz(ToMatrix(nesterov.data(), p->shape[0], p->shape[1]));
      const double scale = 0.2 * std::sqrt(static_cast<double>(std::max(p->shape[0], p->shape[1])));
      for (size_t i = 0; i < w.size(); ++i) {
        const size_t columns = static_cast<size_t>(p->shape[1]);
        w[i] = w[i] * (1 - kLr * 0.1) - kLr * scale * o[i / columns][i % columns];
      }
    }
    optimizer.Step(kLr, kMaxNorm, Tensor(), step);
    adamw.Step(kLr, kMaxNorm, Tensor(), step);
  }
  // All that is no matrix goes as with AdamW.
  const auto masters = Masters(model.get()), by_adamw = Masters(adamw_model.get());
  std::set<ParameterKind> kinds;
  for (const Parameter* p : model->parameters()) {
    kinds.insert(p->kind);
    const bool matrix = p->kind == ParameterKind::kMatrix;
    const std::vector<double>& want = matrix ? expected.at(p->name) : by_adamw.at(p->name);
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(masters.at(p->name)[i], want[i], matrix ? 1e-9 : 0) << p->name;
    }
  }
  EXPECT_EQ(kinds.size(), 7u) << "the model should have every kind of parameter";
  const auto state = ValuesOf<double>(optimizer);
  for (const auto& [name, expected_m] : momenta) {
    EXPECT_EQ(state.count(absl::StrCat("optimizer/", name, "/v")), 0u) << name;
    const std::vector<double>& m = state.at(absl::StrCat("optimizer/", name, "/m"));
    for (size_t i = 0; i < m.size(); ++i) ASSERT_NEAR(m[i], expected_m[i], 1e-12) << name;
  }
}

TEST(Muon, KeepsOneMomentOfMatricesAndTwoOfAllElse) {
  auto model = MakeModel(DType::kFloat32);
  const Optimizer optimizer(model.get(), MuonOptions());
  std::set<std::string> expected, names;
  for (const Parameter* p : model->parameters()) {
    expected.insert(absl::StrCat("model/", p->name));
    expected.insert(absl::StrCat("optimizer/", p->name, "/m"));
    if (p->kind != ParameterKind::kMatrix) {
      expected.insert(absl::StrCat("optimizer/", p->name, "/v"));
    }
  }
  for (const TensorPart& part : StateParts(optimizer)) names.insert(part.tensor.name);
  EXPECT_EQ(names, expected);
  // The flats of the blocks' matrices have no second moment at all.
  for (const Optimizer::FlatState& state : optimizer.flat_states()) {
    bool all = true;
    for (const Parameter* p : state.flat->parameters()) all &= p->kind == ParameterKind::kMatrix;
    EXPECT_EQ(state.v.defined(), !all);
  }
}

TEST(Muon, AStepThatIsNotFiniteChangesNothing) {
  auto model = MakeModel(DType::kFloat32);
  Optimizer optimizer(model.get(), MuonOptions());
  SetGradients(model.get(), 1, 0.1);
  optimizer.Step(1e-2, 1.0, Tensor(), 1);
  const auto before = ValuesOf<float>(optimizer);
  SetGradients(model.get(), 2, 0.1);
  model->parameters()[5]->var.grad().data<float>()[0] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(optimizer.Step(1e-2, 1.0, Tensor(), 2).finite.ToVector<int32_t>()[0], 0);
  EXPECT_EQ(ValuesOf<float>(optimizer), before);
  SetGradients(model.get(), 2, 0.1);
  EXPECT_EQ(optimizer.Step(1e-2, 1.0, Tensor(), 2).finite.ToVector<int32_t>()[0], 1);
  EXPECT_NE(ValuesOf<float>(optimizer), before);
}

// A round ends where the next matrix would not fit, and rounds change no bit.
TEST(Muon, RoundsChangeNothing) {
  std::map<std::string, std::vector<double>> expected;
  for (const int64_t round_elements : {int64_t{1} << 30, int64_t{1}, int64_t{3000}}) {
    auto model = MakeModel(DType::kFloat32);
    std::vector<Muon::Target> targets;
    std::vector<Tensor> momenta;
    for (Unit& unit : model->units()) {
      for (FlatParameters* flat : unit.flats()) {
        const Tensor m = Tensor::ZerosLike(flat->master_shard());
        for (Parameter* p : flat->parameters()) {
          if (p->kind == ParameterKind::kMatrix) targets.push_back({p, m, 0.1});
        }
      }
    }
    const Muon muon(std::move(targets), round_elements);
    const Tensor one = Tensor::FromVector<float>({1}, {1});
    for (int64_t step = 1; step <= 2; ++step) {
      SetGradients(model.get(), step, 0.1);
      muon.Step({.lr = 0.01, .clip = one, .finite = Tensor::FromVector<int32_t>({1}, {1})});
    }
    if (expected.empty()) expected = Masters(model.get());
    EXPECT_EQ(Masters(model.get()), expected);
  }
}

}  // namespace
}  // namespace wyvern
