#include "layers/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/runtime/independent_rows.h"
#include "layers/decode_cache.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "tests/layers/tiny_models.h"

namespace wyvern {
namespace {

struct Batch {
  std::vector<int32_t> ids, targets, cu_seqlens;
};

// Documents of 7, 0, 1 and 11 tokens; every fifth target does not count.
Batch TinyBatch(const ModelConfig& m) {
  Batch batch{.ids = TinyIds(19, m.vocab_size, 1),
              .targets = TinyIds(19, m.vocab_size, 2),
              .cu_seqlens = {0, 7, 7, 8, 19}};
  for (size_t i = 0; i < batch.targets.size(); i += 5) batch.targets[i] = -100;
  return batch;
}

double LossAndGradients(Model* model, const Batch& batch) {
  model->ZeroGradients();
  Tape tape(/*recording=*/true, model->recompute());
  const Var loss = model
                       ->Loss(tape, IdTensor(batch.ids), IdTensor(batch.targets),
                              Packing::FromDocuments(batch.cu_seqlens, Device::kCpu), 15)
                       .loss;
  tape.Backward(loss);
  return loss.value().To(DType::kFloat64).ToVector<double>()[0];
}

double LossOnly(Model* model, const Batch& batch) {
  Tape tape(/*recording=*/false);
  return model
      ->Loss(tape, IdTensor(batch.ids), IdTensor(batch.targets),
             Packing::FromDocuments(batch.cu_seqlens, Device::kCpu), 15)
      .loss.value()
      .ToVector<double>()[0];
}

// Row-major [T, D] of a forward without recording.
std::vector<double> HiddenRows(Model* model, const std::vector<int32_t>& ids,
                               const Packing& packing, DecodeCache* cache = nullptr) {
  Tape tape(/*recording=*/false);
  return model->Hidden(tape, IdTensor(ids), packing, cache).value().ToVector<double>();
}

double RelativeError(const std::vector<double>& x, const std::vector<double>& expected) {
  EXPECT_EQ(x.size(), expected.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += (x[i] - expected[i]) * (x[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference / norm);
}

class TinyModelTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Model> Make(DType dtype, bool trainable = true) {
    auto model = Model::Create(TinyModelNamed(GetParam()), Device::kCpu, dtype, trainable);
    model->Initialize(3);
    return model;
  }
};

TEST_P(TinyModelTest, GradientsMatchFiniteDifferences) {
  const auto model = Make(DType::kFloat64);
  const Batch batch = TinyBatch(model->config());
  LossAndGradients(model.get(), batch);
  for (const Parameter* p : model->parameters()) {
    const Random random(5, p->name);
    const int64_t n = p->value.numel();
    double difference = 0, norm = 0;
    for (int64_t sample = 0; sample < 3; ++sample) {
      const auto i = static_cast<int64_t>(random.Below(sample, n));
      double* x = p->value.data<double>() + i;
      const double x0 = *x, h = 1e-4;
      const auto at = [&](double offset) {
        *x = x0 + offset;
        const double loss = LossOnly(model.get(), batch);
        *x = x0;
        return loss;
      };
      const double numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      const double analytic = p->var.grad().data<double>()[i];
      // The padding row's use as an input gives no gradient; as a row of a tied head it gives one.
      const bool padding = p->name == "embedding.weight" &&
                           i / model->config().hidden_size == model->config().padding_id;
      if (padding && !model->config().tie_embeddings) {
        EXPECT_EQ(analytic, 0);
      }
      if (padding) continue;
      difference += (analytic - numeric) * (analytic - numeric);
      norm += numeric * numeric;
    }
    // Rows of the embedding that no token reads have no gradient at all.
    EXPECT_LE(std::sqrt(difference), 1e-6 * std::sqrt(norm) + 1e-11) << p->name;
    if (p->kind != ParameterKind::kEmbedding) {
      EXPECT_GT(std::sqrt(norm), 1e-7) << p->name << " has no influence";
    }
  }
}

TEST_P(TinyModelTest, RecomputationChangesNoBit) {
  const auto model = Make(DType::kFloat32);
  const Batch batch = TinyBatch(model->config());
  const auto run = [&](int64_t blocks, RecomputePolicy policy) {
    model->RecomputeBlocks(blocks);
    model->SetRecompute(policy);
    std::vector<std::vector<float>> all = {
        {static_cast<float>(LossAndGradients(model.get(), batch))}};
    for (const Parameter* p : model->parameters()) all.push_back(p->var.grad().ToVector<float>());
    return all;
  };
  const auto kept = run(0, RecomputePolicy::kNone);
  for (const auto& [blocks, policy] :
       {std::pair(int64_t{1}, RecomputePolicy::kNone),
        std::pair(model->config().num_layers, RecomputePolicy::kNone),
        std::pair(int64_t{0}, RecomputePolicy::kFused),
        std::pair(int64_t{0}, RecomputePolicy::kElementwise),
        std::pair(int64_t{0}, RecomputePolicy::kProjections),
        std::pair(int64_t{1}, RecomputePolicy::kProjections)}) {
    const auto recomputed = run(blocks, policy);
    for (size_t i = 0; i < kept.size(); ++i) {
      EXPECT_EQ(std::memcmp(kept[i].data(), recomputed[i].data(), kept[i].size() * sizeof(float)),
                0)
          << "of " << (i == 0 ? "loss" : model->parameters()[i - 1]->name);
    }
  }
}

TEST(Model, RecomputationKeepsLessForBackward) {
  const auto model = Model::Create(TinyModelNamed("delta_net"), Device::kCpu, DType::kFloat32);
  model->Initialize(3);
  const Batch batch = TinyBatch(model->config());
  const auto kept = [&](RecomputePolicy policy) {
    const int64_t before = GetMemoryStats(Device::kCpu).current_bytes;
    Tape tape(/*recording=*/true, policy);
    model->Loss(tape, IdTensor(batch.ids), IdTensor(batch.targets),
                Packing::FromDocuments(batch.cu_seqlens, Device::kCpu), 15);
    return GetMemoryStats(Device::kCpu).current_bytes - before;
  };
  const ModelConfig& m = model->config();
  const auto& mixer = *m.MixerOfLayer(0).As<DeltaMixerConfig>();
  const int64_t T = static_cast<int64_t>(batch.ids.size()), D = m.hidden_size;
  const int64_t qk = 2 * mixer.num_heads * mixer.key_dim;
  const int64_t v = mixer.num_heads * mixer.value_dim;
  // Two norms, gated norm, SwiGLU; convolutions; the projections to q, k, v and beta.
  const int64_t fused = 2 * D + v + m.IntermediateSize(), elementwise = fused + qk + v;
  const int64_t projections = qk + v + mixer.num_heads;
  const int64_t all = kept(RecomputePolicy::kNone);
  const int64_t scale = T * m.num_layers * static_cast<int64_t>(sizeof(float));
  EXPECT_EQ(all - kept(RecomputePolicy::kFused), scale * fused);
  EXPECT_EQ(all - kept(RecomputePolicy::kElementwise), scale * elementwise);
  EXPECT_EQ(all - kept(RecomputePolicy::kProjections), scale * (elementwise + projections));
}

TEST_P(TinyModelTest, PackedDocumentsEqualEachAlone) {
  const auto model = Make(DType::kFloat64, /*trainable=*/false);
  const Batch batch = TinyBatch(model->config());
  const auto packed =
      HiddenRows(model.get(), batch.ids, Packing::FromDocuments(batch.cu_seqlens, Device::kCpu));
  const int64_t D = model->config().hidden_size;
  for (size_t n = 0; n + 1 < batch.cu_seqlens.size(); ++n) {
    const int32_t begin = batch.cu_seqlens[n], end = batch.cu_seqlens[n + 1];
    if (begin == end) continue;
    const auto alone = HiddenRows(model.get(), {batch.ids.begin() + begin, batch.ids.begin() + end},
                                  Packing::FromDocuments({0, end - begin}, Device::kCpu));
    EXPECT_LE(RelativeError({packed.begin() + begin * D, packed.begin() + end * D}, alone), 1e-12)
        << "document " << n;
  }
}

TEST_P(TinyModelTest, DecodingInPiecesEqualsTheWholeForward) {
  const auto model = Make(DType::kFloat64, /*trainable=*/false);
  const std::vector<int32_t> ids = TinyIds(90, model->config().vocab_size, 4);
  const auto whole = HiddenRows(model.get(), ids, Packing::FromDocuments({0, 90}, Device::kCpu));
  DecodeCache cache;
  std::vector<double> pieces;
  int32_t done = 0;
  for (const int32_t length : {2, 1, 1, 9, 1, 1, 1, 1, 1, 30, 1, 41}) {
    const auto rows = HiddenRows(model.get(), {ids.begin() + done, ids.begin() + done + length},
                                 Packing::FromDocuments({0, length}, Device::kCpu, done), &cache);
    pieces.insert(pieces.end(), rows.begin(), rows.end());
    done += length;
    EXPECT_EQ(cache.num_tokens(), done);
  }
  EXPECT_LE(RelativeError(pieces, whole), 1e-12);
  EXPECT_GT(cache.num_bytes(), 0);
}

// Reads `lengths` more tokens of each sequence and adds their rows to those that it has.
void Continue(Model* model, const std::vector<std::vector<int32_t>>& texts,
              const std::vector<int64_t>& lengths, DecodeCache* cache,
              std::vector<std::vector<double>>* rows) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto begin = texts[i].begin() + cache->num_tokens(static_cast<int64_t>(i));
    ids.insert(ids.end(), begin, begin + lengths[i]);
  }
  const Packing packing = cache->Next(lengths, Device::kCpu);
  Tape tape(/*recording=*/false);
  const Tensor hidden = model->Hidden(tape, IdTensor(ids), packing, cache).value();
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto own = hidden.Rows(packing.cu_seqlens_host[i], packing.cu_seqlens_host[i + 1])
                         .To(DType::kFloat64)
                         .ToVector<double>();
    (*rows)[i].insert((*rows)[i].end(), own.begin(), own.end());
  }
}

TEST_P(TinyModelTest, SequencesContinuedTogetherEqualEachAlone) {
  const auto model = Make(DType::kFloat32, /*trainable=*/false);
  const IndependentRows independent_rows;
  const std::vector<std::vector<int64_t>> steps = {{3, 17, 0, 1}, {1, 1, 2, 1}, {1, 0, 30, 1},
                                                   {0, 5, 1, 1},  {9, 1, 1, 1}, {1, 1, 40, 0}};
  std::vector<std::vector<int32_t>> texts;
  for (uint64_t i = 0; i < 4; ++i) texts.push_back(TinyIds(80, model->config().vocab_size, i));
  DecodeCache together(4);
  std::vector<std::vector<double>> rows(4);
  for (const auto& lengths : steps) Continue(model.get(), texts, lengths, &together, &rows);
  for (size_t i = 0; i < 4; ++i) {
    DecodeCache alone;
    std::vector<std::vector<double>> expected(1);
    for (const auto& lengths : steps) {
      if (lengths[i] > 0) Continue(model.get(), {texts[i]}, {lengths[i]}, &alone, &expected);
    }
    EXPECT_EQ(together.num_tokens(static_cast<int64_t>(i)), alone.num_tokens());
    EXPECT_EQ(rows[i], expected[0]) << "sequence " << i;
  }
}

TEST_P(TinyModelTest, SelectedSequencesContinueTheirOwn) {
  const auto model = Make(DType::kFloat32, /*trainable=*/false);
  const IndependentRows independent_rows;
  const int64_t vocab_size = model->config().vocab_size;
  std::vector<std::vector<int32_t>> texts;
  for (uint64_t i = 0; i < 3; ++i) texts.push_back(TinyIds(20, vocab_size, i));
  DecodeCache cache(3);
  std::vector<std::vector<double>> rows(3);
  Continue(model.get(), texts, {20, 3, 11}, &cache, &rows);
  // Sequence 2 three ways, 0 once, 1 not at all.
  DecodeCache selected = cache.Select({2, 0, 2, 2});
  std::vector<std::vector<int32_t>> fanned = {texts[2], texts[0], texts[2], texts[2]};
  for (size_t i = 0; i < 4; ++i) {
    fanned[i].resize(selected.num_tokens(static_cast<int64_t>(i)));
    const std::vector<int32_t> more = TinyIds(9, vocab_size, 50 + i);
    fanned[i].insert(fanned[i].end(), more.begin(), more.end());
  }
  std::vector<std::vector<double>> fanned_rows(4);
  Continue(model.get(), fanned, {2, 1, 0, 4}, &selected, &fanned_rows);
  // The cache that was selected from goes its own way beside it.
  Continue(model.get(), texts, {0, 6, 2}, &cache, &rows);
  Continue(model.get(), fanned, {1, 1, 3, 1}, &selected, &fanned_rows);
  DecodeCache last = selected.Select({3});
  std::vector<std::vector<double>> last_rows = {fanned_rows[3]};
  Continue(model.get(), {fanned[3]}, {2}, &last, &last_rows);
  fanned_rows[3] = last_rows[0];

  const auto expect_alone = [&](const std::vector<int32_t>& text, std::vector<int64_t> lengths,
                                const std::vector<double>& got) {
    DecodeCache alone;
    std::vector<std::vector<double>> expected(1);
    for (const int64_t length : lengths) {
      Continue(model.get(), {text}, {length}, &alone, &expected);
    }
    const std::vector<double>& all = expected[0];
    ASSERT_LE(got.size(), all.size());
    EXPECT_EQ(got, std::vector<double>(all.end() - static_cast<ptrdiff_t>(got.size()), all.end()));
  };
  expect_alone(fanned[0], {11, 2, 1}, fanned_rows[0]);
  expect_alone(fanned[1], {20, 1, 1}, fanned_rows[1]);
  expect_alone(fanned[2], {11, 3}, fanned_rows[2]);
  expect_alone(fanned[3], {11, 4, 1, 2}, fanned_rows[3]);
  expect_alone(texts[1], {3, 6}, rows[1]);
  expect_alone(texts[2], {11, 2}, rows[2]);
}

INSTANTIATE_TEST_SUITE_P(All, TinyModelTest, testing::ValuesIn(TinyModelNames()),
                         [](const auto& info) { return info.param; });

TEST(Model, WindowLayersKeepOnlyTheirWindow) {
  const auto bytes_after = [](int64_t window, int32_t tokens) {
    const auto model =
        Model::Create(TinyModel({AttentionMixerConfig{.num_heads = 2, .window = window}}),
                      Device::kCpu, DType::kFloat64, false);
    model->Initialize(1);
    DecodeCache cache;
    for (int32_t t = 0; t < tokens; ++t) {
      HiddenRows(model.get(), {1}, Packing::FromDocuments({0, 1}, Device::kCpu, t), &cache);
    }
    return cache.num_bytes();
  };
  EXPECT_EQ(bytes_after(4, 400), bytes_after(4, 10));
  EXPECT_GE(bytes_after(0, 400), 400 * 2 * 8 * 8);
}

TEST(Model, SequencesWithACommonBeginningShareItsRows) {
  const auto model = Model::Create(TinyModel({AttentionMixerConfig{.num_heads = 2}}), Device::kCpu,
                                   DType::kFloat64, false);
  model->Initialize(1);
  DecodeCache cache;
  cache.Reserve(1000);
  HiddenRows(model.get(), TinyIds(900, 13, 1), cache.Next({900}, Device::kCpu), &cache);
  const int64_t bytes = cache.num_bytes();
  EXPECT_EQ(cache.Select({0, 0, 0, 0}).num_bytes(), bytes);
}

TEST(Model, AModelThatIsNotTrainedHoldsValuesOnly) {
  const auto model = Model::Create(TinyModelNamed("delta_net"), Device::kCpu, DType::kFloat32,
                                   /*trainable=*/false);
  for (const Parameter* p : model->parameters()) {
    EXPECT_FALSE(p->grad.defined());
    EXPECT_FALSE(p->var.requires_grad());
  }
}

TEST(Model, LogitsAreTheHeadTimesTheHiddenState) {
  const auto model =
      Model::Create(TinyModelNamed("delta_net"), Device::kCpu, DType::kFloat64, false);
  model->Initialize(2);
  const std::vector<int32_t> ids = TinyIds(5, 13, 1);
  Tape tape(false);
  const Tensor hidden =
      model->Hidden(tape, IdTensor(ids), Packing::FromDocuments({0, 5}, Device::kCpu)).value();
  const std::vector<double> logits = model->Logits(hidden).ToVector<double>();
  std::vector<int32_t> targets = TinyIds(5, 13, 9);
  const double loss = model
                          ->Loss(tape, IdTensor(ids), IdTensor(targets),
                                 Packing::FromDocuments({0, 5}, Device::kCpu), 5)
                          .loss.value()
                          .ToVector<double>()[0];
  double expected = 0;
  for (int64_t t = 0; t < 5; ++t) {
    double sum = 0;
    for (int64_t i = 0; i < 13; ++i) sum += std::exp(logits[t * 13 + i]);
    expected += (std::log(sum) - logits[t * 13 + targets[t]]) / 5;
  }
  EXPECT_NEAR(loss, expected, 1e-13);
}

}  // namespace
}  // namespace wyvern
