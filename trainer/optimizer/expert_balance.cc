#include "trainer/optimizer/expert_balance.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace wyvern {
namespace {

int64_t Sum(const std::vector<int64_t>& rows) {
  return std::accumulate(rows.begin(), rows.end(), int64_t{0});
}

}  // namespace

double ExpertLoad::MaxOverMean() const {
  const int64_t sum = Sum(rows);
  if (sum == 0) return 0;
  const int64_t largest = *std::max_element(rows.begin(), rows.end());
  return static_cast<double>(largest) * static_cast<double>(rows.size()) / static_cast<double>(sum);
}

double ExpertLoad::Entropy() const {
  const auto sum = static_cast<double>(Sum(rows));
  if (rows.size() == 1) return 1;
  double entropy = 0;
  for (const int64_t n : rows) {
    if (n == 0) continue;
    const double share = static_cast<double>(n) / sum;
    entropy -= share * std::log(share);
  }
  return entropy / std::log(static_cast<double>(rows.size()));
}

std::vector<ExpertLoad> ExpertLoads(const Model& model) {
  if (!model.expert_loads().defined()) return {};
  const std::vector<int64_t> all = model.expert_loads().ToVector<int64_t>();
  const int64_t E = model.expert_loads().dim(1);
  std::vector<ExpertLoad> loads;
  for (auto row = all.begin(); row != all.end(); row += E) loads.push_back({{row, row + E}});
  return loads;
}

void UpdateBalance(Model* model, const std::vector<ExpertLoad>& loads, double rate) {
  const std::vector<ModelBuffer*> biases = model->router_biases();
  CHECK(biases.size() == loads.size(), "loads of ", loads.size(), " layers for ", biases.size());
  for (size_t layer = 0; layer < loads.size(); ++layer) {
    const std::vector<int64_t>& rows = loads[layer].rows;
    const auto E = static_cast<int64_t>(rows.size());
    const int64_t sum = Sum(rows);
    // Exactly the sign of the mean less the load.
    std::vector<double> signs;
    for (const int64_t n : rows) signs.push_back((n * E < sum) - (n * E > sum));
    const double mean = std::accumulate(signs.begin(), signs.end(), 0.0) / static_cast<double>(E);
    const Tensor& value = biases[layer]->value;
    const Tensor bias = value.To(Device::kCpu).To(DType::kFloat64).Clone();
    for (int64_t e = 0; e < E; ++e) {
      bias.data<double>()[e] += rate * (signs[static_cast<size_t>(e)] - mean);
    }
    value.CopyFrom(bias);
  }
}

}  // namespace wyvern
