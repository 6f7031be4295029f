#include "trainer/config/fields.h"

#include <algorithm>

namespace wyvern {
namespace {

constexpr char kWithoutExperts[] = "a model without experts (model.moe)";

void VisitMixer(ConfigVisitor& v, MixerConfig* mixer, bool is_new) {
  const std::vector<std::string> names = MixerTypeNames();
  const auto held = std::find(names.begin(), names.end(), mixer->type().name);
  int type = is_new ? -1 : static_cast<int>(held - names.begin());
  v.Choice("type", names, &type);
  if (is_new) *mixer = MixerTypes()[std::max(type, 0)].defaults;
  mixer->Visit(v);
}

void VisitMoe(ConfigVisitor& v, MoeConfig* c) {
  v.Value("num_experts", &c->num_experts);
  v.Value("experts_per_token", &c->experts_per_token);
  v.Value("intermediate_size", &c->intermediate_size);
  v.Value("shared_experts", &c->shared_experts);
  v.Value("first_dense", &c->first_dense);
  v.Value("every", &c->every);
  v.Enumerated("router", {"sigmoid", "softmax"}, &c->router);
  v.Value("renormalize", &c->renormalize);
  v.Value("scale", &c->scale);
  v.Value("groups", &c->groups);
  v.Only(c->groups != 1, "groups: 1",
         [c](ConfigVisitor& only) { only.Value("top_groups", &c->top_groups); });
}

template <typename T>
std::vector<std::string> KeysOf(const std::map<std::string, T>& map) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : map) keys.push_back(key);
  return keys;
}

void VisitSource(ConfigVisitor& v, DataSource* s, bool only_source) {
  v.Value("dir", &s->dir);
  v.Value("text", &s->text);
  v.Only(!s->text.empty(), "stores that exist already (no text)", [s](ConfigVisitor& only) {
    only.Value("field", &s->field);
    only.Value("document_separator", &s->document_separator);
    only.Enumerated("format", {"auto", "text", "json"}, &s->format);
    only.Enumerated("invalid_utf8", {"error", "replace"}, &s->invalid_utf8);
    only.Value("val_documents", &s->val_documents);
    only.Only(s->val_documents == 0, "val_documents",
              [s](ConfigVisitor& inner) { inner.Value("val_fraction", &s->val_fraction); });
  });
  v.Only(!only_source, "a single source",
         [s](ConfigVisitor& only) { only.Value("weight", &s->weight); });
}

void VisitData(ConfigVisitor& v, DataSection* c) {
  v.List(
      "sources", [c] { return c->sources.size(); }, [c](size_t size) { c->sources.resize(size); },
      [c](size_t i, ConfigVisitor& entry) {
        VisitSource(entry, &c->sources[i], c->sources.size() == 1);
      });
  v.Value("seq_len", &c->seq_len);
  v.Enumerated("document_boundary", {"none", "reset"}, &c->document_boundary);
}

void VisitTokenizer(ConfigVisitor& v, TokenizerSection* c) {
  const std::vector<std::string> types = {"store", "byte", "file", "bpe", "unigram"};
  v.Enumerated("type", types, &c->type);
  const std::string instead = "type: " + types[static_cast<int>(c->type)];
  const bool trained = c->type == TokenizerType::kBpe || c->type == TokenizerType::kUnigram;
  v.Only(trained || c->type == TokenizerType::kFile, instead,
         [c](ConfigVisitor& only) { only.Value("path", &c->path); });
  v.Only(trained, instead, [c](ConfigVisitor& only) { only.Value("vocab_size", &c->vocab_size); });
}

void VisitTrain(ConfigVisitor& v, bool has_experts, bool has_stages, TrainSection* c) {
  v.Only(!has_stages, "stages", [c](ConfigVisitor& only) {
    only.Value("steps", &c->steps);
    only.Value("tokens", &c->tokens);
  });
  v.Value("batch_tokens", &c->batch_tokens);
  v.Value("micro_batch", &c->micro_batch);
  v.Value("grad_clip", &c->grad_clip);
  v.Enumerated("recompute", kRecomputeNames, &c->recompute);
  v.Value("recompute_blocks", &c->recompute_blocks);
  v.Enumerated("nonfinite", {"skip", "stop"}, &c->nonfinite);
  v.Only(has_experts, kWithoutExperts, [c](ConfigVisitor& only) {
    only.Value("balance_rate", &c->balance_rate);
    only.Value("balance_loss", &c->balance_loss);
  });
}

void VisitParallel(ConfigVisitor& v, bool has_experts, ParallelSection* c) {
  v.Value("replicate", &c->replicate);
  v.Value("shard", &c->shard);
  v.Value("context", &c->context);
  v.Only(has_experts, kWithoutExperts,
         [c](ConfigVisitor& only) { only.Value("expert", &c->expert); });
  v.Only(c->shard != 1, "shard: 1", [c](ConfigVisitor& only) { only.Value("zero", &c->zero); });
  v.Value("timeout", &c->timeout);
}

void VisitOptimizer(ConfigVisitor& v, OptimizerSection* c) {
  v.Enumerated("type", {"adamw", "muon"}, &c->type);
  v.Value("beta1", &c->beta1);
  v.Value("beta2", &c->beta2);
  v.Value("epsilon", &c->epsilon);
  v.Only(c->type == OptimizerType::kMuon, "type: adamw",
         [c](ConfigVisitor& only) { only.Value("momentum", &c->momentum); });
  v.Value("weight_decay", &c->weight_decay);
  v.Only(c->weight_decay != 0, "weight_decay: 0", [c](ConfigVisitor& only) {
    only.Value("decay_convolutions", &c->decay_convolutions);
    only.Value("decay_embeddings", &c->decay_embeddings);
    only.Value("decay_norms", &c->decay_norms);
  });
  v.Value("qk_clip", &c->qk_clip);
}

void VisitSchedule(ConfigVisitor& v, ScheduleSection* c) {
  const std::vector<std::string> types = {"constant", "linear", "cosine", "wsd"};
  v.Enumerated("type", types, &c->type);
  const std::string instead = "type: " + types[static_cast<int>(c->type)];
  v.Value("peak", &c->peak);
  v.Value("warmup_steps", &c->warmup_steps);
  v.Value("warmup_tokens", &c->warmup_tokens);
  v.Only(c->warmup_steps != 0 || c->warmup_tokens != 0, "no warm-up",
         [c](ConfigVisitor& only) { only.Value("initial", &c->initial); });
  v.Only(c->type != ScheduleType::kConstant, instead,
         [c](ConfigVisitor& only) { only.Value("final", &c->final); });
  v.Only(c->type == ScheduleType::kWsd, instead, [c](ConfigVisitor& only) {
    only.Value("decay_steps", &c->decay_steps);
    only.Value("decay_tokens", &c->decay_tokens);
    only.Enumerated("decay_shape", {"linear", "cosine", "1-sqrt"}, &c->decay_shape);
  });
}

void VisitStage(ConfigVisitor& v, bool has_experts, StageSection* c) {
  v.Value("name", &c->name);
  v.Value("steps", &c->steps);
  v.Value("tokens", &c->tokens);
  v.Value("seq_len", &c->seq_len);
  v.Value("batch_tokens", &c->batch_tokens);
  v.Value("micro_batch", &c->micro_batch);
  v.Only(has_experts, kWithoutExperts,
         [c](ConfigVisitor& only) { only.Value("balance_rate", &c->balance_rate); });
  v.Section("schedule", [c](ConfigVisitor& keys) { VisitSchedule(keys, &c->schedule); });
}

void VisitGenerate(ConfigVisitor& v, GenerateSection* c) {
  v.Value("prompt", &c->prompt);
  v.Only(!c->prompt.empty(), "an empty prompt", [c](ConfigVisitor& only) {
    only.Value("tokens", &c->tokens);
    only.Value("temperature", &c->temperature);
    only.Only(c->temperature != 0, "temperature: 0", [c](ConfigVisitor& inner) {
      inner.Value("top_k", &c->top_k);
      inner.Value("top_p", &c->top_p);
      inner.Value("seed", &c->seed);
    });
  });
}

}  // namespace

const std::vector<std::string> kRecomputeNames = {"none", "fused", "elementwise", "projections"};

void VisitModelConfig(ConfigVisitor& v, ModelConfig* c) {
  v.Value("vocab_size", &c->vocab_size);
  v.Value("hidden_size", &c->hidden_size);
  v.Value("num_layers", &c->num_layers);
  v.Value("intermediate_size", &c->intermediate_size);
  v.Value("mlp_bias", &c->mlp_bias);
  v.Value("tie_embeddings", &c->tie_embeddings);
  v.Value("norm_eps", &c->norm_eps);
  v.Value("initializer_range", &c->initializer_range);
  v.Value("padding_id", &c->padding_id);
  v.Names("mixers", KeysOf(c->mixers), [c](const std::string& name, ConfigVisitor& mixers) {
    const bool is_new = c->mixers.count(name) == 0;
    MixerConfig* mixer = &c->mixers[name];
    mixers.Section(name, [&](ConfigVisitor& keys) { VisitMixer(keys, mixer, is_new); });
  });
  v.Value("pattern", &c->pattern);
  v.Names("at", KeysOf(c->at),
          [c](const std::string& name, ConfigVisitor& at) { at.Value(name, &c->at[name]); });
  if (v.Has("moe", c->moe.has_value())) {
    if (!c->moe.has_value()) c->moe.emplace();
    v.Section("moe", [c](ConfigVisitor& keys) { VisitMoe(keys, &*c->moe); });
  }
}

void VisitRunConfig(ConfigVisitor& v, RunConfig* c) {
  v.Section("run", [c](ConfigVisitor& keys) {
    keys.Value("name", &c->run.name);
    keys.Value("dir", &c->run.dir);
    keys.Value("seed", &c->run.seed);
    keys.Enumerated("device", {"auto", "cpu", "cuda"}, &c->run.device);
    keys.Enumerated("precision", {"auto", "fp32", "bf16"}, &c->run.precision);
  });
  v.Section("model", [c](ConfigVisitor& keys) { VisitModelConfig(keys, &c->model); });
  v.Section("tokenizer", [c](ConfigVisitor& keys) { VisitTokenizer(keys, &c->tokenizer); });
  v.Section("data", [c](ConfigVisitor& keys) { VisitData(keys, &c->data); });
  const bool has_experts = c->model.moe.has_value();
  v.List(
      "stages", [c] { return c->stages.size(); }, [c](size_t size) { c->stages.resize(size); },
      [=](size_t i, ConfigVisitor& entry) { VisitStage(entry, has_experts, &c->stages[i]); });
  const bool has_stages = !c->stages.empty();
  v.Section("train",
            [=](ConfigVisitor& keys) { VisitTrain(keys, has_experts, has_stages, &c->train); });
  v.Section("parallel",
            [=](ConfigVisitor& keys) { VisitParallel(keys, has_experts, &c->parallel); });
  v.Section("optimizer", [c](ConfigVisitor& keys) { VisitOptimizer(keys, &c->optimizer); });
  v.Only(!has_stages, "stages", [c](ConfigVisitor& only) {
    only.Section("schedule", [c](ConfigVisitor& keys) { VisitSchedule(keys, &c->schedule); });
  });
  v.Section("validation", [c](ConfigVisitor& keys) {
    keys.Value("every", &c->validation.every);
    keys.Only(c->validation.every != 0, "every: 0",
              [c](ConfigVisitor& only) { only.Value("batches", &c->validation.batches); });
  });
  v.Section("checkpoint", [c](ConfigVisitor& keys) {
    keys.Value("every", &c->checkpoint.every);
    keys.Value("keep", &c->checkpoint.keep);
  });
  v.Section("logging", [c](ConfigVisitor& keys) { keys.Value("every", &c->logging.every); });
  v.Section("generate", [c](ConfigVisitor& keys) { VisitGenerate(keys, &c->generate); });
}

}  // namespace wyvern
