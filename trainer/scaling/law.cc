#include "trainer/scaling/law.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace wyvern {
namespace {

constexpr const char* kNames[] = {"compute", "parameters", "tokens"};
constexpr const char* kLetters[] = {"C", "N", "D"};

}  // namespace

std::string LawForm::Name() const {
  std::vector<std::string> parts;
  for (const ScalingVariable v : variables) parts.push_back(kNames[static_cast<int>(v)]);
  if (floor) parts.push_back("floor");
  return absl::StrJoin(parts, "_");
}

std::string LawForm::Formula() const {
  std::vector<std::string> parts;
  if (floor) parts.push_back("E");
  for (const ScalingVariable v : variables) {
    const char* letter = kLetters[static_cast<int>(v)];
    if (variables.size() == 1) {
      parts.push_back(absl::StrCat("a ", letter, "^-b"));
    } else {
      const bool tokens = v == ScalingVariable::kTokens;
      parts.push_back(absl::StrCat(tokens ? "B " : "A ", letter, tokens ? "^-beta" : "^-alpha"));
    }
  }
  return absl::StrCat("L = ", absl::StrJoin(parts, " + "));
}

double Law::Loss(const ScalingPoint& point) const {
  double loss = e;
  for (size_t i = 0; i < terms.size(); ++i) {
    const double x = point.x[static_cast<size_t>(form.variables[i])];
    loss += std::exp(terms[i].log_a - terms[i].b * std::log(x));
  }
  return loss;
}

double Law::Loss(double x) const { return e + std::exp(terms[0].log_a - terms[0].b * std::log(x)); }

double Law::Inverse(double loss) const {
  if (loss <= e || terms[0].b <= 0) return std::numeric_limits<double>::infinity();
  return std::exp((terms[0].log_a - std::log(loss - e)) / terms[0].b);
}

}  // namespace wyvern
