#include "trainer/config/run_config.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "kernels/runtime/checked_math.h"
#include "layers/faults.h"
#include "trainer/config/stages.h"

namespace wyvern {
namespace {

// Far beyond any run; below them no product of a valid configuration's numbers overflows.
constexpr int64_t kMaxMicroBatchTokens = (int64_t{1} << 31) - 1;
constexpr int64_t kMaxBatchTokens = int64_t{1} << 40;
constexpr int64_t kMaxTokens = int64_t{1} << 53;  // and steps
constexpr int64_t kMaxRanks = int64_t{1} << 20;
constexpr int64_t kMaxCount = (int64_t{1} << 31) - 1;  // of what is counted in memory
constexpr double kMaxSeconds = 1e9;

bool IsName(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char ch) {
    return absl::ascii_isalnum(ch) || ch == '.' || ch == '_' || ch == '-';
  });
}

void ValidateRun(const RunSection& c, Faults* f) {
  f->Unless(IsName(c.name), "run.name", "expected letters, digits, '.', '_' or '-', got '", c.name,
            "'");
  f->Unless(c.name != "." && c.name != "..", "run.name", "'", c.name,
            "' names a folder that is there already; expected a name of the run's own");
  f->Unless(c.precision != DType::kBf16 || c.device != Device::kCpu, "run.precision",
            "bf16 needs a GPU; the CPU computes in fp32");
}

// `key`: of the list.
void ValidateSources(const std::vector<DataSource>& sources, const std::string& key, Faults* f) {
  std::set<std::string> dirs;
  int64_t num_weights = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    const DataSource& s = sources[i];
    const std::string entry = absl::StrCat(key, "[", i, "]");
    f->Unless(!s.dir.empty(), entry + ".dir",
              "expected the folder of the token stores, got nothing");
    f->Unless(s.dir.empty() || dirs.insert(s.dir).second, entry + ".dir", "'", s.dir,
              "' is the folder of another source too");
    f->Unless(s.val_fraction >= 0 && s.val_fraction < 1, entry + ".val_fraction",
              "expected a share from 0 to below 1, got ", s.val_fraction);
    f->Unless(s.val_documents >= 0, entry + ".val_documents", "expected at least 0, got ",
              s.val_documents);
    f->Unless(s.text.paths.empty() || s.tokens.paths.empty(), entry + ".tokens",
              "a source is made from text or from token files; leave out one");
    f->Unless(s.shard_bytes >= 0, entry + ".shard_bytes", "expected at least 0, got ",
              s.shard_bytes);
    f->Unless(s.shard_bytes == 0 || s.val_documents == 0, entry + ".val_documents",
              "shards hold out a share of the documents; use val_fraction");
    f->Unless(s.shard_bytes == 0 || s.text.dedup == Dedup::kNone, entry + ".dedup",
              "exact compares each document with all others, and shards are made apart from one "
              "another; leave shard_bytes out");
    f->Range(entry + ".workers", s.workers, 1, 4096);
    f->Range(entry + ".vocab_size", s.tokens.vocab_size, 0, kMaxCount);
    f->Range(entry + ".eos", s.tokens.eos, 0, kMaxCount);
    f->Unless(s.tokens.vocab_size == 0 || s.tokens.eos < s.tokens.vocab_size, entry + ".eos",
              "expected an id below vocab_size ", s.tokens.vocab_size, ", got ", s.tokens.eos);
    f->Unless(s.weight >= 0 && s.weight <= 1e9, entry + ".weight", "expected 0 to 1e9, got ",
              s.weight);
    num_weights += s.weight > 0 ? 1 : 0;
  }
  f->Unless(num_weights == 0 || num_weights == static_cast<int64_t>(sources.size()), key,
            "weights are given for ", num_weights, " of ", sources.size(),
            " sources; give all or none");
}

// A stage's source is described where its folder is named first.
void ValidateStageSources(const std::vector<Stage>& stages, const RunConfig& config, Faults* f) {
  const std::vector<RunSource> all = SourcesOf(config);
  for (size_t i = 0; i < config.stages.size(); ++i) {
    const std::vector<DataSource>& sources = config.stages[i].sources;
    std::set<int64_t> numbers;
    for (size_t j = 0; j < sources.size(); ++j) {
      const std::string key = absl::StrCat("stages[", i, "].sources[", j, "]");
      const int64_t number = stages[i].mixture[j].source;
      const RunSource& first = all[static_cast<size_t>(number)];
      f->Unless(numbers.insert(number).second, key + ".dir", "'", sources[j].dir,
                "' is the folder of another source of the stage too");
      DataSource same = first.source;
      same.dir = sources[j].dir;
      same.weight = sources[j].weight;
      f->Unless(!sources[j].HasInput() || sources[j] == same, key + ".text", first.key,
                " describes this folder in another way; leave the text or tokens out here");
      f->Unless(sources[j].packing == first.source.packing, key + ".packing", "expected ",
                Name(first.source.packing), ", as in ", first.key, " for the same folder, got ",
                Name(sources[j].packing));
    }
  }
}

// The tokenizers that have no bos as the configuration says it. Of others their files decide.
void ValidateBos(const RunConfig& config, Faults* f) {
  const TokenizerSection& t = config.tokenizer;
  const bool of_bytes = t.type == TokenizerType::kBpe && t.byte_level;
  const bool has_none = (of_bytes && t.settings.bos.empty()) ||
                        ((of_bytes || t.type == TokenizerType::kFile) && t.settings.bos == "none");
  const auto check = [&](const TextSourceOptions& text, const std::string& key) {
    f->Unless(!has_none || text.paths.empty() || !text.add_bos, key + ".add_bos",
              "the tokenizer has no bos; name it by tokenizer.bos, or leave add_bos out");
  };
  for (const RunSource& source : SourcesOf(config)) check(source.source.text, source.key);
  for (size_t i = 0; i < config.validation.sets.size(); ++i) {
    check(config.validation.sets[i].text, absl::StrCat("validation.sets[", i, "]"));
  }
}

void ValidateData(const RunConfig& config, Faults* f) {
  const DataSection& c = config.data;
  const TokenizerSection& t = config.tokenizer;
  f->Unless(!c.sources.empty(), "data.sources", "expected one source at least, as in [{dir: ...}]");
  f->Range("data.seq_len", c.seq_len, 1, kMaxMicroBatchTokens);
  ValidateSources(c.sources, "data.sources", f);
  int64_t num_text = 0;
  for (const RunSource& source : SourcesOf(config)) {
    num_text += source.source.text.paths.empty() ? 0 : 1;
    const TokenFilesSource& tokens = source.source.tokens;
    const bool names_ids = tokens.vocab_size > 0;
    f->Unless(tokens.paths.empty() || names_ids == (t.type == TokenizerType::kStore),
              source.key + ".vocab_size",
              names_ids ? "has no effect, as the tokenizer says it; leave it out, or set "
                          "tokenizer.type: store"
                        : "expected the number of ids, as tokenizer.type is store; or name the "
                          "tokenizer that made them");
  }
  ValidateBos(config, f);
  const bool held_out = std::any_of(c.sources.begin(), c.sources.end(), [](const DataSource& s) {
    return !s.HasInput() || s.val_documents > 0 || s.val_fraction > 0;
  });
  const std::vector<ValidationSet>& sets = config.validation.sets;
  f->Unless(held_out || c.sources.empty() || !sets.empty() || config.validation.every == 0,
            "validation.every",
            "no source holds documents out; set a source's val_fraction or val_documents, name "
            "validation.sets, or set validation.every: 0");
  const bool sets_have_text = std::any_of(
      sets.begin(), sets.end(), [](const ValidationSet& s) { return !s.text.paths.empty(); });
  f->Unless(t.type != TokenizerType::kStore || !sets_have_text, "tokenizer.type",
            "validation.sets with text need a tokenizer: byte, file, bpe or unigram");
  const bool trained = IsTrained(t.type);
  f->Unless(t.type != TokenizerType::kStore || num_text == 0, "tokenizer.type",
            "sources with text need a tokenizer: byte, file, bpe or unigram");
  f->Unless((!trained && t.type != TokenizerType::kFile) || !t.path.empty(), "tokenizer.path",
            "expected the path of a tokenizer, got nothing");
  f->Unless(!trained || num_text > 0 || c.sources.empty(), "tokenizer.type",
            "no source has text to train a tokenizer on; use store or file");
  if (trained) {
    f->Unless(t.vocab_size >= 260, "tokenizer.vocab_size",
              "expected at least 260 (256 bytes and the special tokens), got ", t.vocab_size);
    f->Unless(t.vocab_size <= config.model.vocab_size, "tokenizer.vocab_size", t.vocab_size,
              " is more than model.vocab_size ", config.model.vocab_size);
  }
  if (t.byte_level) {
    const absl::Status status = t.ByteLevel().Validate();
    f->Unless(status.ok(), "tokenizer", status.message());
  }
  f->Unless(t.type != TokenizerType::kByte || config.model.vocab_size >= 258, "model.vocab_size",
            "the byte tokenizer has 258 tokens, got ", config.model.vocab_size);
}

void ValidateLength(int64_t steps, int64_t tokens, const std::string& key, Faults* f) {
  f->Unless(steps >= 0, key + ".steps", "expected at least 1, got ", steps);
  f->Unless(tokens >= 0, key + ".tokens", "expected at least 1, got ", tokens);
  f->Unless(steps <= kMaxTokens, key + ".steps", "expected at most ", kMaxTokens, ", got ", steps);
  f->Unless(tokens <= kMaxTokens, key + ".tokens", "expected at most ", kMaxTokens, ", got ",
            tokens);
  f->Unless((steps > 0) != (tokens > 0), key + ".steps", "expected exactly one of ", key,
            ".steps and ", key, ".tokens, got ", steps > 0 ? "both" : "neither");
}

// `lengths`: the key of the sequences' length.
void ValidateBatch(const Stage& stage, const std::string& key, const std::string& lengths,
                   Faults* f) {
  const int64_t micro_tokens =
      SaturatedProduct(stage.micro_batch == kAutoMicroBatch ? 1 : stage.micro_batch, stage.seq_len);
  if (micro_tokens > kMaxMicroBatchTokens) {
    return f->Unless(false, key + ".micro_batch", stage.micro_batch, " x ", lengths, " ",
                     stage.seq_len, " are more than ", kMaxMicroBatchTokens, " tokens");
  }
  f->Unless(stage.batch_tokens >= 1 && stage.seq_len > 0 && stage.batch_tokens % stage.seq_len == 0,
            key + ".batch_tokens", "expected a multiple of ", lengths, " = ", stage.seq_len,
            ", got ", stage.batch_tokens);
  f->Unless(stage.batch_tokens <= kMaxBatchTokens, key + ".batch_tokens", "expected at most ",
            kMaxBatchTokens, ", got ", stage.batch_tokens);
  f->Unless(stage.num_steps > kMaxTokens || stage.end_token() <= kMaxTokens, key + ".steps",
            stage.num_steps, " steps of ", stage.batch_tokens, " tokens are more than ", kMaxTokens,
            " tokens");
}

void ValidateTrain(const RunConfig& config, const std::vector<Stage>& stages, Faults* f) {
  const TrainSection& c = config.train;
  f->Unless(c.micro_batch >= 1 || c.micro_batch == kAutoMicroBatch, "train.micro_batch",
            "expected at least 1, or auto, got ", c.micro_batch);
  if (config.stages.empty()) {
    ValidateLength(c.steps, c.tokens, "train", f);
    ValidateBatch(stages[0], "train", "data.seq_len", f);
  }
  f->Unless(
      c.init_from.empty() || config.run.branch_of.empty(), "train.init_from",
      "has no effect with run.branch_of, which brings its own weights; leave one of them out");
  f->Unless(c.grad_clip >= 0, "train.grad_clip", "expected at least 0 (0: no clipping), got ",
            c.grad_clip);
  f->Unless(c.recompute <= RecomputePolicy::kFused || c.recompute_blocks < config.model.num_layers,
            "train.recompute", "has no effect where train.recompute_blocks is model.num_layers = ",
            config.model.num_layers, "; leave one of them out");
  f->Unless(c.recompute_blocks >= 0 && c.recompute_blocks <= config.model.num_layers,
            "train.recompute_blocks", "expected 0 to model.num_layers = ", config.model.num_layers,
            ", got ", c.recompute_blocks);
  f->Unless(c.balance_rate >= 0, "train.balance_rate", "expected at least 0, got ", c.balance_rate);
  f->Unless(c.balance_loss >= 0, "train.balance_loss", "expected at least 0 (0: none), got ",
            c.balance_loss);
  f->Unless(c.balance_loss == 0 || config.parallel.mesh.context == 1, "train.balance_loss",
            "is a mean over whole sequences, which parallel.context divides; set one of them to "
            "its default");
  const OptimizerSection& o = config.optimizer;
  f->Unless(o.beta1 >= 0 && o.beta1 < 1, "optimizer.beta1", "expected 0 to below 1, got ", o.beta1);
  f->Unless(o.beta2 >= 0 && o.beta2 < 1, "optimizer.beta2", "expected 0 to below 1, got ", o.beta2);
  f->Unless(o.epsilon > 0, "optimizer.epsilon", "expected more than 0, got ", o.epsilon);
  f->Unless(o.momentum >= 0 && o.momentum < 1, "optimizer.momentum", "expected 0 to below 1, got ",
            o.momentum);
  f->Unless(o.weight_decay >= 0, "optimizer.weight_decay", "expected at least 0, got ",
            o.weight_decay);
  f->Unless(o.qk_clip >= 0, "optimizer.qk_clip", "expected at least 0 (0: off), got ", o.qk_clip);
  f->Unless(o.qk_clip <= 0 || HasQkClip(config.model), "optimizer.qk_clip",
            "has no effect: no mixer has heads whose logits grow with weights");
}

void ValidateParallel(const RunConfig& config, Faults* f) {
  const ParallelSection& c = config.parallel;
  const MeshShape& mesh = c.mesh;
  const auto size = [&](const std::string& key, int64_t value) {
    f->Unless(value >= 1 || value == -1, key, "expected at least 1, or -1 (the rest), got ", value);
    f->Unless(value <= kMaxRanks, key, "expected at most ", kMaxRanks, ", got ", value);
  };
  size("parallel.replicate", mesh.replicate);
  size("parallel.shard", mesh.shard);
  size("parallel.context", mesh.context);
  const int64_t open = (mesh.replicate == -1) + (mesh.shard == -1) + (mesh.context == -1);
  f->Unless(open <= 1, mesh.shard == -1 ? "parallel.shard" : "parallel.context",
            "-1 stands for what the others leave of the ranks, and ", open,
            " of replicate, shard and context are -1");
  for (const auto& [name, mixer] : config.model.mixers) {
    f->Unless(mesh.context == 1 || mixer.type().context_parallel, "parallel.context",
              "expected 1: mixers of type ", mixer.type().name, " (model.mixers.", name,
              ") do not serve sequences that are cut over ranks");
  }
  f->Range("parallel.expert", mesh.expert, 1, kMaxRanks);
  if (config.model.moe.has_value() && mesh.expert > 1) {
    f->Unless(config.model.moe->num_experts % mesh.expert == 0, "parallel.expert",
              "expected a divisor of model.moe.num_experts ", config.model.moe->num_experts,
              ", got ", mesh.expert);
  }
  f->Unless(c.zero >= 1 && c.zero <= 3, "parallel.zero", "expected 1, 2 or 3, got ", c.zero);
  f->Unless(c.timeout > 0 && c.timeout <= kMaxSeconds, "parallel.timeout",
            "expected more than 0 seconds, at most ", kMaxSeconds, ", got ", c.timeout);
  f->Unless(c.start_timeout >= 0 && c.start_timeout <= kMaxSeconds, "parallel.start_timeout",
            "expected 0 (parallel.timeout) to ", kMaxSeconds, " seconds, got ", c.start_timeout);
}

// `key`: of the stage's schedule; `length`: what messages call the stage.
void ValidateSchedule(const Stage& stage, const std::string& key, const std::string& length,
                      Faults* f) {
  const ScheduleSection& c = stage.schedule;
  f->Unless(c.peak > 0, key + ".peak", "expected more than 0, got ", c.peak);
  f->Unless(c.initial >= 0 && c.initial <= c.peak, key + ".initial", "expected 0 to ", key,
            ".peak = ", c.peak, ", got ", c.initial);
  f->Unless(c.final >= 0 && c.final <= c.peak, key + ".final", "expected 0 to ", key,
            ".peak = ", c.peak, ", got ", c.final);
  for (const auto& [name, value] :
       {std::pair(".warmup_steps", c.warmup_steps), std::pair(".warmup_tokens", c.warmup_tokens),
        std::pair(".decay_steps", c.decay_steps), std::pair(".decay_tokens", c.decay_tokens)}) {
    f->Range(key + name, value, 0, kMaxTokens);
  }
  f->Unless(c.warmup_steps == 0 || c.warmup_tokens == 0, key + ".warmup_steps",
            "expected at most one of warmup_steps and warmup_tokens, got both");
  const bool wsd = c.type == ScheduleType::kWsd;
  f->Unless(!wsd || (c.decay_steps > 0) != (c.decay_tokens > 0), key + ".decay_steps",
            "type: wsd needs exactly one of decay_steps and decay_tokens, got ",
            c.decay_steps > 0 ? "both" : "neither");
  if (stage.num_steps > 0) {
    const int64_t used = SaturatedSum(stage.WarmupSteps(), stage.DecaySteps());
    f->Unless(
        used <= stage.num_steps, key + ".warmup_steps", "the warm-up of ", stage.WarmupSteps(),
        " steps", wsd ? absl::StrCat(" and the decay of ", stage.DecaySteps()) : "",
        wsd ? " do" : " does", " not fit into the ", length, "'s ", stage.num_steps, " steps");
  }
}

void ValidateStages(const RunConfig& config, const std::vector<Stage>& stages, Faults* f) {
  if (config.stages.empty()) return ValidateSchedule(stages[0], "schedule", "run", f);
  std::set<std::string> names;
  for (size_t i = 0; i < stages.size(); ++i) {
    const StageSection& c = config.stages[i];
    const std::string key = absl::StrCat("stages[", i, "]");
    f->Unless(IsName(c.name), key + ".name", "expected letters, digits, '.', '_' or '-', got '",
              c.name, "'");
    f->Unless(c.name.empty() || names.insert(c.name).second, key + ".name", "'", c.name,
              "' is the name of another stage too");
    for (const auto& [name, value] :
         {std::pair(".seq_len", c.seq_len), std::pair(".batch_tokens", c.batch_tokens),
          std::pair(".micro_batch", c.micro_batch)}) {
      f->Unless(value >= 0, key + name, "expected at least 1, or 0 (as in the other stages), got ",
                value);
    }
    f->Unless(stages[i].balance_rate >= 0, key + ".balance_rate", "expected at least 0, got ",
              stages[i].balance_rate);
    ValidateSources(c.sources, key + ".sources", f);
    ValidateLength(c.steps, c.tokens, key, f);
    ValidateBatch(stages[i], key, key + ".seq_len", f);
    ValidateSchedule(stages[i], key + ".schedule", "stage", f);
  }
  ValidateStageSources(stages, config, f);
}

void ValidateSets(const RunConfig& config, Faults* f) {
  std::set<std::string> names, made;
  const std::vector<RunSource> sources = SourcesOf(config);
  for (size_t i = 0; i < config.validation.sets.size(); ++i) {
    const ValidationSet& c = config.validation.sets[i];
    const std::string key = absl::StrCat("validation.sets[", i, "]");
    f->Unless(IsName(c.name), key + ".name", "expected letters, digits, '.', '_' or '-', got '",
              c.name, "'");
    f->Unless(c.name.empty() || names.insert(c.name).second, key + ".name", "'", c.name,
              "' is the name of another set too");
    f->Unless(!c.dir.empty(), key + ".dir", "expected a folder, got nothing");
    f->Range(key + ".batches", c.batches, 0, kMaxCount);
    if (c.text.paths.empty() || c.dir.empty()) continue;
    f->Unless(made.insert(SourceFolder(c.dir)).second, key + ".dir", "'", c.dir,
              "' is the folder of another set with text too");
    for (const RunSource& source : sources) {
      f->Unless(SourceFolder(source.source.dir) != SourceFolder(c.dir), key + ".dir", "'", c.dir,
                "' holds what ", source.key,
                " trains on; name another folder, or leave the text "
                "out to use its val.h5");
    }
  }
}

void ValidateRest(const RunConfig& config, Faults* f) {
  ValidateSets(config, f);
  f->Unless(config.validation.every >= 0, "validation.every", "expected at least 0, got ",
            config.validation.every);
  f->Range("validation.batches", config.validation.batches, 1, kMaxCount);
  const EvaluationSection& evaluation = config.evaluation;
  f->Unless(evaluation.every >= 0, "evaluation.every", "expected at least 0, got ",
            evaluation.every);
  f->Unless(evaluation.every == 0 || !evaluation.tasks.empty(), "evaluation.tasks",
            "expected the files of tasks, got none; name some, or set evaluation.every: 0");
  f->Range("evaluation.limit", evaluation.limit, 0, kMaxCount);
  f->Range("evaluation.max_length", evaluation.max_length, 0, kMaxCount);
  f->Unless(config.checkpoint.every >= 0, "checkpoint.every", "expected at least 0, got ",
            config.checkpoint.every);
  const CheckpointSection& saved = config.checkpoint;
  f->Unless(saved.keep == -1 || (saved.keep >= 1 && saved.keep <= kMaxCount), "checkpoint.keep",
            "expected at least 1, or all, got ", saved.keep);
  f->Range("checkpoint.keep_every", saved.keep_every, 0, kMaxTokens);
  f->Unless(saved.keep_every == 0 || (saved.every > 0 && saved.keep_every % saved.every == 0),
            "checkpoint.keep_every", "expected a multiple of checkpoint.every = ", saved.every,
            ", got ", saved.keep_every);
  f->Unless(config.logging.every >= 1, "logging.every", "expected at least 1, got ",
            config.logging.every);
  const GenerateSection& g = config.generate;
  f->Range("generate.tokens", g.tokens, 1, kMaxCount);
  f->Unless(g.sampling.temperature >= 0, "generate.temperature",
            "expected at least 0 (0: greedy), got ", g.sampling.temperature);
  f->Unless(g.sampling.top_k >= 0, "generate.top_k", "expected at least 0 (0: all), got ",
            g.sampling.top_k);
  f->Unless(g.sampling.top_p > 0 && g.sampling.top_p <= 1, "generate.top_p",
            "expected above 0 to 1, got ", g.sampling.top_p);
}

}  // namespace

TokenizerSettings TokenizerSection::LoadSettings() const {
  TokenizerSettings load = settings;
  if (byte_level) load.pattern.clear();
  return load;
}

ByteLevelOptions TokenizerSection::ByteLevel() const {
  ByteLevelOptions options;
  const auto choose = [](const std::string& setting, std::string* token) {
    if (!setting.empty()) *token = setting == "none" ? "" : setting;
  };
  choose(settings.pattern, &options.pattern);
  choose(settings.bos, &options.bos);
  choose(settings.eos, &options.eos);
  options.pad = pad;
  options.specials = special_tokens;
  return options;
}

void RunSection::ResolveAuto() {
  if (!device.has_value()) device = CudaAvailable() ? Device::kCuda : Device::kCpu;
  if (!precision.has_value()) {
    precision = device == Device::kCuda ? DType::kBf16 : DType::kFloat32;
  }
}

std::vector<std::string> RunConfig::Validate() const {
  std::vector<std::string> all;
  Faults faults("", &all);
  ValidateRun(run, &faults);
  for (std::string& fault : model.Validate()) all.push_back(std::move(fault));
  ValidateData(*this, &faults);
  const std::vector<Stage> resolved = StagesOf(*this);
  ValidateTrain(*this, resolved, &faults);
  ValidateParallel(*this, &faults);
  ValidateStages(*this, resolved, &faults);
  ValidateRest(*this, &faults);
  return all;
}

bool HasQkClip(const ModelConfig& config) {
  return std::any_of(config.mixers.begin(), config.mixers.end(),
                     [](const auto& mixer) { return mixer.second.HasQkClip(); });
}

}  // namespace wyvern
