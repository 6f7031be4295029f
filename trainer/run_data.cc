#include "trainer/run_data.h"

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "data/file.h"
#include "data/prepare.h"
#include "kernels/runtime/status.h"
#include "trainer/config/model_json.h"
#include "trainer/config/stages.h"

namespace wyvern {
namespace {

// Which documents are held out depends on the data alone, so that runs of several seeds share it.
constexpr uint64_t kSplitSeed = 1;

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

TextSourceOptions TextOf(const DataSource& source) {
  return {
      .paths = source.text, .field = source.field, .document_separator = source.document_separator};
}

absl::StatusOr<std::unique_ptr<Tokenizer>> TrainOrLoad(const RunConfig& config) {
  const TokenizerSection& section = config.tokenizer;
  if (!Exists(section.path)) {
    TokenizerTrainOptions options;
    options.output = section.path;
    options.type = section.type == TokenizerType::kBpe ? "bpe" : "unigram";
    options.vocab_size = section.vocab_size;
    for (const DataSource& source : config.data.sources) {
      if (source.text.empty()) continue;
      options.source.field = source.field;
      options.source.document_separator = source.document_separator;
      options.source.paths.insert(options.source.paths.end(), source.text.begin(),
                                  source.text.end());
    }
    std::printf("tokenizer: training %s with %lld tokens\n", section.path.c_str(),
                static_cast<long long>(section.vocab_size));
    std::fflush(stdout);
    RETURN_IF_ERROR(
        MakeFolders(std::filesystem::path(section.path).parent_path().lexically_normal().string()));
    ASSIGN_OR_RETURN(const TokenizerTrainResult result, TrainTokenizer(options));
    std::printf("%s\n", result.ToString().c_str());
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(section.path));
  if (tokenizer->vocab_size() != section.vocab_size) {
    return absl::FailedPreconditionError(
        absl::StrCat("tokenizer.path: ", section.path, " has ", tokenizer->vocab_size(),
                     " tokens, tokenizer.vocab_size is ", section.vocab_size,
                     "; remove the file to train it anew, or name another path"));
  }
  return tokenizer;
}

// What the stores depend on; written beside them, so that a changed configuration is noticed.
absl::StatusOr<nlohmann::json> PreparationOf(const DataSource& source, const Tokenizer& tokenizer) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TextSource> text, TextSource::Open(TextOf(source)));
  std::vector<std::string> names;  // without folders: the repository may move
  for (const std::string& file : text->files()) {
    names.push_back(std::filesystem::path(file).filename().string());
  }
  return nlohmann::json{{"files", names},
                        {"text_bytes", text->file_bytes()},
                        {"field", source.field},
                        {"document_separator", source.document_separator},
                        {"val_fraction", source.val_fraction},
                        {"val_documents", source.val_documents},
                        {"tokenizer", tokenizer.hash()}};
}

absl::Status PrepareSource(const DataSource& source, const RunConfig& config,
                           const Tokenizer& tokenizer) {
  const std::string store = source.dir + "/train.h5", record = source.dir + "/prepared.json";
  const absl::StatusOr<nlohmann::json> wanted = PreparationOf(source, tokenizer);
  if (Exists(store)) {
    // Stores outlive the text they were made of, and may have been made by `wyvern data prepare`.
    if (!Exists(record) || !wanted.ok()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::string text, ReadFile(record));
    const nlohmann::json made = nlohmann::json::parse(text, nullptr, false);
    const std::string difference =
        made.is_discarded() ? "it is not JSON" : FirstDifference(*wanted, made, source.dir);
    if (difference.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("data: ", store, " was made in another way than this configuration says (",
                     record, ": ", difference, "); name another dir, or remove this one"));
  }
  RETURN_IF_ERROR(wanted.status());
  PrepareOptions options;
  options.source = TextOf(source);
  options.tokenizer =
      config.tokenizer.type == TokenizerType::kByte ? "byte" : config.tokenizer.path;
  options.output_dir = source.dir;
  options.val_fraction = source.val_fraction;
  options.val_documents = source.val_documents;
  options.seed = kSplitSeed;
  std::printf("data: preparing %s\n", source.dir.c_str());
  std::fflush(stdout);
  RETURN_IF_ERROR(MakeFolders(source.dir));
  ASSIGN_OR_RETURN(const PrepareResult result, PrepareStore(options));
  std::printf("%s\n", result.ToString().c_str());
  return WriteFileAtomically(record, wanted->dump(2) + "\n");
}

}  // namespace

absl::StatusOr<RunData> PrepareRunData(const RunConfig& config) {
  RunData data;
  switch (config.tokenizer.type) {
    case TokenizerType::kStore:
      break;
    case TokenizerType::kByte: {
      ASSIGN_OR_RETURN(data.tokenizer, LoadTokenizer("byte"));
      break;
    }
    case TokenizerType::kFile: {
      ASSIGN_OR_RETURN(data.tokenizer, LoadTokenizer(config.tokenizer.path));
      break;
    }
    case TokenizerType::kBpe:
    case TokenizerType::kUnigram: {
      ASSIGN_OR_RETURN(data.tokenizer, TrainOrLoad(config));
      break;
    }
  }
  std::vector<MixtureEntry> entries;
  for (const DataSource& source : config.data.sources) {
    if (!source.text.empty()) RETURN_IF_ERROR(PrepareSource(source, config, *data.tokenizer));
    entries.push_back({.path = source.dir + "/train.h5", .weight = source.weight});
  }
  const DocumentBoundary boundary = config.data.document_boundary == BoundaryChoice::kReset
                                        ? DocumentBoundary::kReset
                                        : DocumentBoundary::kNone;
  ASSIGN_OR_RETURN(data.sampler, Sampler::Open(entries, {.seq_len = config.data.seq_len,
                                                         .seed = config.run.seed,
                                                         .boundary = boundary}));
  for (const Stage& stage : StagesOf(config)) {
    ASSIGN_OR_RETURN(std::unique_ptr<Sampler> sampler, data.sampler->WithLength(stage.seq_len));
    data.stage_samplers.push_back(std::move(sampler));
  }
  if (data.tokenizer == nullptr) {
    ASSIGN_OR_RETURN(data.tokenizer, data.sampler->stores()[0]->MakeStoreTokenizer());
  }
  for (const DataSource& source : config.data.sources) {
    const std::string path = source.dir + "/val.h5";
    if (!Exists(path)) continue;
    ASSIGN_OR_RETURN(std::shared_ptr<TokenStore> store, TokenStore::Open(path));
    data.validation.push_back(std::move(store));
  }
  std::vector<std::shared_ptr<TokenStore>> stores = data.sampler->stores();
  stores.insert(stores.end(), data.validation.begin(), data.validation.end());
  for (const std::shared_ptr<TokenStore>& store : stores) {
    RETURN_IF_ERROR(store->CheckTokenizer(*data.tokenizer));
    if (store->info().vocab_size > config.model.vocab_size) {
      return absl::FailedPreconditionError(
          absl::StrCat(store->path(), ": its tokens go up to ", store->info().vocab_size - 1,
                       ", but model.vocab_size is ", config.model.vocab_size,
                       "; raise it to at least ", store->info().vocab_size));
    }
  }
  if (config.validation.every > 0 && data.validation.empty()) {
    return absl::FailedPreconditionError(
        "validation.every: no source has a val.h5; prepare one, or set validation.every: 0");
  }
  return data;
}

absl::StatusOr<std::vector<Batch>> ValidationBatches(const RunConfig& config, const RunData& data) {
  std::vector<Batch> batches;
  if (config.validation.every == 0) return batches;
  for (const std::shared_ptr<TokenStore>& store : data.validation) {
    const SequentialSampler sampler(store, config.data.seq_len, data.sampler->options().boundary);
    const int64_t size = config.train.micro_batch;
    const int64_t available = (sampler.num_windows() + size - 1) / size;
    const int64_t count = std::min(config.validation.batches, available);
    for (int64_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(Batch batch, sampler.Sample(i * available / count * size, size));
      if (batch.num_targets > 0) batches.push_back(std::move(batch));
    }
  }
  if (batches.empty()) {
    return absl::FailedPreconditionError(
        "validation.every: the held-out documents have no two tokens; hold out more, or set "
        "validation.every: 0");
  }
  return batches;
}

}  // namespace wyvern
