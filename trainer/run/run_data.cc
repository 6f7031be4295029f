#include "trainer/run/run_data.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/chat/load_chat_template.h"
#include "data/io/file.h"
#include "data/io/say.h"
#include "data/store/preparation.h"
#include "data/store/prepare.h"
#include "data/store/token_store.h"
#include "data/token_files/import_tokens.h"
#include "data/tokenizer/id_tokenizer.h"
#include "data/tokenizer/tokenizer_training.h"
#include "kernels/runtime/status.h"
#include "trainer/inference/eval.h"

namespace wyvern {
namespace {

// Which documents are held out depends on the data alone, so that runs of several seeds share it.
constexpr uint64_t kSplitSeed = 1;

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// Whether the tokenizer at the path is the one that the keys describe, as far as that can be seen.
absl::Status CheckTrained(const Tokenizer& tokenizer, const TokenizerSection& section) {
  const auto differs = [&section](const std::string& what) {
    return absl::FailedPreconditionError(
        absl::StrCat("tokenizer.path: ", section.path, " ", what,
                     "; remove the file to train it anew, or name another path"));
  };
  if (tokenizer.vocab_size() != section.vocab_size) {
    return differs(absl::StrCat("has ", tokenizer.vocab_size(), " tokens, tokenizer.vocab_size is ",
                                section.vocab_size));
  }
  if (!section.byte_level) return absl::OkStatus();
  if (tokenizer.kind() != "tokenizer.json") {
    return differs("is no tokenizer.json, as byte_level: true wants it");
  }
  const ByteLevelOptions asked = section.ByteLevel();
  const std::map<std::string, std::string> files = tokenizer.files();
  const auto main = files.find(std::filesystem::path(section.path).filename().string());
  const std::string& json = main != files.end() ? main->second : files.at("tokenizer.json");
  ASSIGN_OR_RETURN(const bool divides, DividesBy(json, asked.pattern));
  if (!divides) {
    return differs(absl::StrCat("divides text otherwise than by the pattern ", asked.pattern,
                                " (tokenizer.pattern)"));
  }
  for (const std::string& token : asked.SpecialTokens()) {
    if (tokenizer.Encode(token).size() == 1) continue;
    return differs(absl::StrCat("has no special token ", token));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> TrainOrLoad(const RunConfig& config) {
  const TokenizerSection& section = config.tokenizer;
  if (!Exists(section.path)) {
    TokenizerTrainOptions options;
    options.output = section.path;
    options.type = section.type;
    options.is_byte_level = section.byte_level;
    options.byte_level = section.ByteLevel();
    options.vocab_size = section.vocab_size;
    for (const RunSource& source : SourcesOf(config)) {
      if (!source.source.text.paths.empty()) options.sources.push_back(source.source.text);
    }
    Say(absl::StrCat("tokenizer: training ", section.path, " with ", section.vocab_size,
                     " tokens"));
    RETURN_IF_ERROR(
        MakeFolders(std::filesystem::path(section.path).parent_path().lexically_normal().string()));
    ASSIGN_OR_RETURN(const TokenizerTrainResult result, TrainTokenizer(options));
    Say(result.ToString());
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer,
                   LoadTokenizer(section.path, section.LoadSettings()));
  RETURN_IF_ERROR(CheckTrained(*tokenizer, section));
  return tokenizer;
}

absl::Status PrepareText(const DataSource& source, const RunConfig& config,
                         const Tokenizer& tokenizer, bool may_fork) {
  PrepareOptions options;
  options.source = source.text;
  options.tokenizer = config.tokenizer.Source();
  options.tokenizer_settings = config.tokenizer.LoadSettings();
  options.output_dir = source.dir;
  options.val_fraction = source.val_fraction;
  options.val_documents = source.val_documents;
  options.seed = kSplitSeed;
  options.shard_bytes = source.shard_bytes;
  options.workers = static_cast<int>(source.workers);
  options.may_fork = may_fork;
  if (IsStoreWhole(source.dir + "/train.h5")) {
    std::vector<std::string> notes;
    RETURN_IF_ERROR(CheckPrepared(options, tokenizer, &notes));
    for (const std::string& note : notes) Say(absl::StrCat("data: ", note));
    return absl::OkStatus();
  }
  Say(absl::StrCat("data: preparing ", source.dir));
  if (options.workers > 1 && !may_fork) {
    Say(absl::StrCat("note: ", source.dir,
                     ": one rank of several makes the shards in one process, "
                     "as MPI allows no others; `wyvern data prepare --workers ",
                     options.workers, "` before the run is faster"));
  }
  RETURN_IF_ERROR(MakeFolders(source.dir));
  ASSIGN_OR_RETURN(const PrepareResult result, PrepareStore(options));
  Say(result.ToString());
  return absl::OkStatus();
}

absl::Status ImportSource(const DataSource& source, const Tokenizer* of_run) {
  const TokenFilesSource& tokens = source.tokens;
  std::unique_ptr<Tokenizer> ids;
  if (of_run == nullptr) {
    ASSIGN_OR_RETURN(ids, MakeIdTokenizer(tokens.vocab_size, tokens.eos));
  }
  const Tokenizer& tokenizer = of_run == nullptr ? *ids : *of_run;
  const ImportTokensOptions options = {.paths = tokens.paths,
                                       .file = {.format = tokens.format, .dtype = tokens.dtype},
                                       .document_end = tokens.document_end,
                                       .split = {.output_dir = source.dir,
                                                 .val_fraction = source.val_fraction,
                                                 .val_documents = source.val_documents,
                                                 .seed = kSplitSeed}};
  if (Exists(source.dir + "/train.h5")) {
    std::vector<std::string> notes;
    RETURN_IF_ERROR(CheckImported(options, tokenizer, &notes));
    for (const std::string& note : notes) Say(absl::StrCat("data: ", note));
    return absl::OkStatus();
  }
  Say(absl::StrCat("data: importing ", source.dir));
  ASSIGN_OR_RETURN(const ImportTokensResult result, ImportTokens(options, tokenizer));
  Say(result.ToString());
  return absl::OkStatus();
}

// Opens the training store of a source, which is made before if there is text or token files.
absl::StatusOr<std::shared_ptr<TokenStore>> OpenSource(const RunSource& source,
                                                       const RunConfig& config, const RunData& data,
                                                       bool may_fork) {
  const std::string path = source.source.dir + "/train.h5";
  if (!source.source.text.paths.empty()) {
    RETURN_IF_ERROR(PrepareText(source.source, config, *data.tokenizer, may_fork));
  } else if (!source.source.tokens.paths.empty()) {
    RETURN_IF_ERROR(ImportSource(source.source, data.tokenizer.get()));
  } else if (!StoreExists(path)) {
    return absl::NotFoundError(
        absl::StrCat(path,
                     ": there is no token store; make it with `wyvern data prepare "
                     "--output ",
                     source.source.dir, "`, or name ", source.key, ".text or .tokens"));
  }
  return TokenStore::Open(path);
}

// Keeps the template of a source of conversations, unless there is one already.
absl::Status TakeChat(const TextSourceOptions& text, const RunConfig& config,
                      std::optional<ChatOptions>* chat) {
  if (text.paths.empty() || text.format != TextFormat::kChat || chat->has_value()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(ChatOptions found,
                   LoadChatTemplate(text.chat_template, config.tokenizer.Source()));
  if (!found.source.empty()) *chat = std::move(found);
  return absl::OkStatus();
}

// Opens the store of validation.sets[i], which is made before if there is text.
absl::StatusOr<std::shared_ptr<TokenStore>> OpenSet(size_t i, const RunConfig& config,
                                                    const RunData& data, bool may_fork) {
  const ValidationSet& set = config.validation.sets[i];
  if (!set.text.paths.empty()) {
    const DataSource all{.dir = set.dir, .text = set.text, .val_fraction = 0};
    RETURN_IF_ERROR(PrepareText(all, config, *data.tokenizer, may_fork));
  } else if (!StoreExists(set.StorePath())) {
    return absl::NotFoundError(absl::StrCat(
        "validation.sets[", i, "].dir: ", set.dir,
        " holds no val.h5; prepare it with documents held out, or name the set's text"));
  }
  return TokenStore::Open(set.StorePath());
}

// StageData::epochs.
std::vector<int64_t> EpochTokens(const Stage& stage, const Sampler& sampler,
                                 const std::vector<RunSource>& sources, const RunData& data) {
  std::vector<int64_t> tokens(sources.size(), -1);
  for (size_t i = 0; i < stage.mixture.size(); ++i) {
    tokens[static_cast<size_t>(stage.mixture[i].source)] =
        sampler.num_samples(static_cast<int64_t>(i)) * stage.seq_len;
  }
  for (size_t i = 0; i < sources.size(); ++i) {
    if (tokens[i] >= 0) continue;
    const std::shared_ptr<TokenStore>& store = data.stores[i];
    tokens[i] = stage.seq_len * (sources[i].source.packing == SamplePacking::kWhole
                                     ? WholeDocuments(store, stage.seq_len).num_samples()
                                     : (store->num_tokens() - 1) / stage.seq_len);
  }
  return tokens;
}

// Says how the documents of sources that are packed whole fill the samples of a stage.
void SayPacking(const Stage& stage, const Sampler& sampler) {
  for (size_t i = 0; i < sampler.entries().size(); ++i) {
    const WholeDocuments* documents = sampler.whole(static_cast<int64_t>(i));
    if (documents == nullptr) continue;
    const std::string& path = sampler.entries()[i].store->path();
    Say(absl::StrFormat("data: %s: %d documents in %d samples of %d tokens, %.1f%% full", path,
                        documents->num_documents(), documents->num_samples(), stage.seq_len,
                        100 * documents->Fill()));
    if (documents->num_cut() > 0) {
      Say(absl::StrFormat("note: %s: %d documents are longer than %d tokens and are cut there",
                          path, documents->num_cut(), stage.seq_len));
    }
  }
}

// The samples of a stage that follows those of data->stages.
absl::StatusOr<StageData> MakeStage(const std::vector<Stage>& stages, const RunConfig& config,
                                    const RunData& data) {
  const Stage& stage = stages[data.stages.size()];
  const SamplerOptions options{
      .seq_len = stage.seq_len, .seed = config.run.seed, .boundary = stage.document_boundary};
  const std::vector<RunSource> sources = SourcesOf(config);
  StageData made;
  if (stage.index == 0) {
    made.positions.resize(data.stores.size());
  } else {
    const StageData& before = data.stages.back();
    made.positions = before.positions;
    if (!stage.BeginsMixture()) {
      ASSIGN_OR_RETURN(made.sampler, before.sampler->With(options));
      made.epochs = EpochTokens(stage, *made.sampler, sources, data);
      return made;
    }
    const Stage& last = stages[data.stages.size() - 1];
    const std::vector<int64_t> read = before.sampler->Positions(last.SampleAt(last.end_step()));
    for (size_t i = 0; i < read.size(); ++i) {
      made.positions[static_cast<size_t>(last.mixture[i].source)] = read[i];
    }
  }
  std::vector<MixtureEntry> entries;
  for (const StageSource& source : stage.mixture) {
    const auto number = static_cast<size_t>(source.source);
    entries.push_back({.store = data.stores[number],
                       .weight = source.weight,
                       .source = source.source,
                       .position = made.positions[number],
                       .packing = sources[number].source.packing});
  }
  ASSIGN_OR_RETURN(made.sampler, Sampler::Make(std::move(entries), options));
  made.epochs = EpochTokens(stage, *made.sampler, sources, data);
  return made;
}

// The batches of a validation store, for one result.
absl::Status AddStore(const std::shared_ptr<TokenStore>& store, SamplePacking packing,
                      int64_t num_batches, size_t result, const RunConfig& config,
                      std::vector<EvalBatch>* batches) {
  const SequentialSampler sampler(store, config.data.seq_len, config.data.document_boundary,
                                  packing);
  const std::vector<int64_t> samples = EvalSamples(sampler, num_batches);
  const auto size = static_cast<size_t>(EvalSamplesAtOnce(config.data.seq_len));
  for (size_t begin = 0; begin < samples.size(); begin += size) {
    ASSIGN_OR_RETURN(Batch batch,
                     sampler.Sample(absl::MakeConstSpan(samples).subspan(begin, size)));
    if (batch.num_targets() > 0) batches->push_back({std::move(batch), {result}});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RunData> PrepareRunData(const RunConfig& config, const std::vector<Stage>& stages,
                                       bool is_one_of_several) {
  const bool may_fork = !is_one_of_several;
  RunData data;
  if (IsTrained(config.tokenizer.type)) {
    ASSIGN_OR_RETURN(data.tokenizer, TrainOrLoad(config));
  } else if (config.tokenizer.type != TokenizerType::kStore) {
    ASSIGN_OR_RETURN(data.tokenizer,
                     LoadTokenizer(config.tokenizer.Source(), config.tokenizer.LoadSettings()));
  }
  for (const RunSource& source : SourcesOf(config)) {
    ASSIGN_OR_RETURN(std::shared_ptr<TokenStore> store, OpenSource(source, config, data, may_fork));
    data.stores.push_back(std::move(store));
    data.adds_bos = data.adds_bos || PreparedWithBos(source.source.dir);
    RETURN_IF_ERROR(TakeChat(source.source.text, config, &data.chat));
  }
  RETURN_IF_ERROR(MakeStages(config, stages, &data));
  for (size_t i = 0; i < stages.size(); ++i) {
    if (i == 0 || stages[i].BeginsMixture() || stages[i].seq_len != stages[i - 1].seq_len) {
      SayPacking(stages[i], *data.stages[i].sampler);
    }
  }
  if (data.tokenizer == nullptr) {
    ASSIGN_OR_RETURN(data.tokenizer, data.stores[0]->MakeStoreTokenizer());
  }
  bool held_out = false;
  for (size_t i = 0; i < config.data.sources.size(); ++i) {
    const std::string path = config.data.sources[i].dir + "/val.h5";
    std::shared_ptr<TokenStore>& store = data.validation.emplace_back();
    if (!StoreExists(path)) continue;
    ASSIGN_OR_RETURN(store, TokenStore::Open(path));
    RETURN_IF_ERROR(store->CheckSamePreparation(*data.stores[i]));
    held_out = true;
  }
  if (config.validation.every > 0) {
    for (size_t i = 0; i < config.validation.sets.size(); ++i) {
      ASSIGN_OR_RETURN(std::shared_ptr<TokenStore> store, OpenSet(i, config, data, may_fork));
      data.sets.push_back(std::move(store));
    }
  }
  for (const std::shared_ptr<TokenStore>& store : data.AllStores()) {
    RETURN_IF_ERROR(store->CheckTokenizer(*data.tokenizer));
    if (store->info().vocab_size > config.model.vocab_size) {
      return absl::FailedPreconditionError(
          absl::StrCat(store->path(), ": its tokens go up to ", store->info().vocab_size - 1,
                       ", but model.vocab_size is ", config.model.vocab_size,
                       "; raise it to at least ", store->info().vocab_size));
    }
  }
  if (config.validation.every > 0 && !held_out && data.sets.empty()) {
    return absl::FailedPreconditionError(
        "validation.every: no source has a val.h5; prepare one, name validation.sets, or set "
        "validation.every: 0");
  }
  return data;
}

absl::Status MakeStages(const RunConfig& config, const std::vector<Stage>& stages, RunData* data) {
  data->stages.clear();
  for (size_t i = 0; i < stages.size(); ++i) {
    ASSIGN_OR_RETURN(StageData stage, MakeStage(stages, config, *data));
    data->stages.push_back(std::move(stage));
  }
  return absl::OkStatus();
}

std::vector<std::shared_ptr<TokenStore>> RunData::AllStores() const {
  std::vector<std::shared_ptr<TokenStore>> all = stores;
  std::copy_if(validation.begin(), validation.end(), std::back_inserter(all),
               [](const auto& store) { return store != nullptr; });
  all.insert(all.end(), sets.begin(), sets.end());
  return all;
}

std::string DescribeMixture(const RunData& data, const Stage& stage) {
  const Sampler& sampler = *data.stages[static_cast<size_t>(stage.index)].sampler;
  double total = 0;
  for (const MixtureEntry& entry : sampler.entries()) total += entry.weight;
  std::vector<std::string> parts;
  for (size_t i = 0; i < sampler.entries().size(); ++i) {
    const MixtureEntry& entry = sampler.entries()[i];
    const auto epoch =
        static_cast<double>(sampler.num_samples(static_cast<int64_t>(i)) * stage.seq_len);
    parts.push_back(absl::StrFormat("%.4g%% %s from epoch %.2f", 100 * entry.weight / total,
                                    entry.store->path(),
                                    static_cast<double>(entry.position) / epoch));
  }
  return absl::StrJoin(parts, ", ");
}

std::vector<double> EpochsOf(const RunData& data, const Stage& stage, int64_t step) {
  const StageData& samples = data.stages[static_cast<size_t>(stage.index)];
  std::vector<int64_t> positions = samples.positions;
  const std::vector<int64_t> mixed = samples.sampler->Positions(stage.SampleAt(step));
  for (size_t i = 0; i < mixed.size(); ++i) {
    positions[static_cast<size_t>(stage.mixture[i].source)] = mixed[i];
  }
  std::vector<double> epochs;
  for (size_t i = 0; i < positions.size(); ++i) {
    const int64_t tokens = samples.epochs[i];
    epochs.push_back(tokens == 0 ? 0
                                 : static_cast<double>(positions[i]) / static_cast<double>(tokens));
  }
  return epochs;
}

absl::StatusOr<std::vector<EvalBatch>> ValidationBatches(const RunConfig& config,
                                                         const RunData& data) {
  std::vector<EvalBatch> batches;
  const ValidationSection& validation = config.validation;
  if (validation.every == 0) return batches;
  // The batches of each source's store, by its fingerprint and packing.
  std::map<std::pair<std::string, SamplePacking>, std::pair<size_t, size_t>> of_sources;
  for (size_t i = 0; i < data.validation.size(); ++i) {
    const std::shared_ptr<TokenStore>& store = data.validation[i];
    if (store == nullptr) continue;
    const SamplePacking packing = config.data.sources[i].packing;
    const size_t begin = batches.size();
    RETURN_IF_ERROR(AddStore(store, packing, validation.batches, 0, config, &batches));
    of_sources.emplace(std::pair(store->fingerprint(), packing), std::pair(begin, batches.size()));
  }
  if (batches.empty() && data.sets.empty()) {
    return absl::FailedPreconditionError(
        "validation.every: the held-out documents have no two tokens; hold out more, or set "
        "validation.every: 0");
  }
  for (size_t i = 0; i < data.sets.size(); ++i) {
    const ValidationSet& set = validation.sets[i];
    const int64_t count = set.batches > 0 ? set.batches : validation.batches;
    const size_t result = i + 1, before = batches.size();
    const auto same = of_sources.find({data.sets[i]->fingerprint(), set.packing});
    if (count == validation.batches && same != of_sources.end()) {
      for (size_t b = same->second.first; b < same->second.second; ++b) {
        batches[b].results.push_back(result);
      }
      continue;
    }
    RETURN_IF_ERROR(AddStore(data.sets[i], set.packing, count, result, config, &batches));
    if (batches.size() == before) {
      return absl::FailedPreconditionError(absl::StrCat(
          "validation.sets[", i, "]: ", data.sets[i]->path(), ": no document has two tokens"));
    }
  }
  return batches;
}

}  // namespace wyvern
