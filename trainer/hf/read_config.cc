#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "trainer/hf/hf_config.h"
#include "trainer/hf/key_reader.h"
#include "trainer/hf/kimi_config.h"
#include "trainer/hf/read_attention.h"

namespace wyvern {

const char* ModelType(HfFamily family) {
  switch (family) {
    case HfFamily::kDeltaNet:
      return "delta_net";
    case HfFamily::kGatedDeltaNet:
      return "gated_deltanet";
    case HfFamily::kKda:
      return "kda";
    case HfFamily::kTransformer:
      return "transformer";
    case HfFamily::kLlama:
      return "llama";
    case HfFamily::kKimiLinear:
      return "kimi_linear";
  }
  return "?";
}

std::optional<HfFamily> FamilyOfModelType(absl::string_view model_type) {
  for (const HfFamily family : {HfFamily::kDeltaNet, HfFamily::kGatedDeltaNet, HfFamily::kKda,
                                HfFamily::kTransformer, HfFamily::kLlama, HfFamily::kKimiLinear}) {
    if (model_type == ModelType(family)) return family;
  }
  return std::nullopt;
}

namespace {

constexpr size_t kMaxShownFaults = 20;

// What every configuration may carry without any bearing on a decoder's mathematics: provenance,
// generation defaults, classification heads, storage.
void IgnoreCommonKeys(KeyReader* r) {
  r->Ignore({"architectures", "model_type", "transformers_version", "torch_dtype", "dtype",
             "auto_map", "_name_or_path", "use_cache", "bos_token_id", "eos_token_id",
             "sep_token_id", "cls_token_id", "decoder_start_token_id", "max_position_embeddings"});
  r->Ignore({"return_dict", "output_hidden_states", "output_attentions", "torchscript",
             "use_bfloat16", "tf_legacy_loss", "pruned_heads", "chunk_size_feed_forward",
             "is_encoder_decoder", "is_decoder", "cross_attention_hidden_size",
             "add_cross_attention", "tie_encoder_decoder", "_attn_implementation_autoset"});
  r->Ignore({"finetuning_task",
             "id2label",
             "label2id",
             "problem_type",
             "task_specific_params",
             "prefix",
             "tokenizer_class",
             "max_length",
             "min_length",
             "do_sample",
             "early_stopping",
             "num_beams",
             "num_beam_groups",
             "diversity_penalty",
             "temperature",
             "top_k",
             "top_p",
             "typical_p",
             "repetition_penalty",
             "length_penalty",
             "no_repeat_ngram_size",
             "encoder_no_repeat_ngram_size",
             "bad_words_ids",
             "num_return_sequences",
             "output_scores",
             "return_dict_in_generate",
             "forced_bos_token_id",
             "forced_eos_token_id",
             "remove_invalid_values",
             "exponential_decay_length_penalty",
             "suppress_tokens",
             "begin_suppress_tokens"});
}

// What changes the model's function in relatives of these families, and is served in none.
void RefuseAlterations(KeyReader* r) {
  for (const char* key : {"quantization_config", "compression_config"}) {
    r->Only(key, false, "the weights must not be quantized");
  }
  for (const char* key : {"logit_scale", "logits_scaling", "lm_head_multiplier"}) {
    r->Only(key, 1, "logits are not scaled");
  }
  for (const char* key : {"embedding_multiplier", "scale_emb"}) {
    r->Only(key, 1, "embeddings are not scaled");
  }
  r->Only("residual_multiplier", 1, "the residual path is not scaled");
  r->Only("scale_depth", false, "the residual path is not scaled");
  r->Only("attention_multiplier", 1, "attention scores are scaled by 1 / sqrt(head_dim)");
  r->Only("query_pre_attn_scalar", nullptr, "attention scores are scaled by 1 / sqrt(head_dim)");
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    r->Only(key, false, "logits are not capped");
  }
  for (const char* key : {"use_qk_norm", "qk_layernorm"}) {
    r->Only(key, false, "q and k are normalised as the family's library does");
  }
  for (const char* key : {"use_sliding_window", "use_parallel_residual"}) {
    r->Only(key, false, "it changes the layers");
  }
}

void ReadVocabulary(KeyReader* r, ModelConfig* m) {
  r->Int("vocab_size", &m->vocab_size);
  r->Bool("tie_word_embeddings", &m->tie_embeddings);
  r->Real("initializer_range", &m->initializer_range);
  std::optional<int64_t> pad;
  r->Int("pad_token_id", &pad);
  if (!pad.has_value()) return;
  // PyTorch counts a negative padding index from the end of the table.
  m->padding_id = *pad < 0 ? m->vocab_size + *pad : *pad;
  if (m->padding_id < 0 || m->padding_id >= m->vocab_size) {
    r->Fault("pad_token_id",
             absl::StrCat(*pad, " is outside of the vocabulary of ", m->vocab_size));
    m->padding_id = -1;
  }
}

// A layout of one mixer everywhere.
void UseEverywhere(const std::string& name, MixerConfig mixer, ModelConfig* m) {
  m->mixers[name] = std::move(mixer);
  m->pattern = {name};
}

// ---- FLA --------------------------------------------------------------------------------------

// What the four families share; the attention specs of hybrids apart.
void ReadFlaCommon(KeyReader* r, ModelConfig* m) {
  m->hidden_size = 2048;
  m->num_layers = 24;
  r->Int("hidden_size", &m->hidden_size);
  r->Int("num_hidden_layers", &m->num_layers);
  r->Real("norm_eps", &m->norm_eps);
  double ratio = 4;
  r->Real("hidden_ratio", &ratio);
  r->Int("intermediate_size", &m->intermediate_size);
  if (!r->Has("intermediate_size")) {
    const double wide = std::floor(static_cast<double>(m->hidden_size) * ratio * 2 / 3);
    if (!(wide >= 1 && wide < 1e9)) {
      r->Fault("hidden_ratio", absl::StrCat(ratio, " gives no MLP width"));
    } else {
      m->intermediate_size = 256 * ((static_cast<int64_t>(wide) + 255) / 256);
    }
  } else if (m->intermediate_size < 1) {
    r->Fault("intermediate_size",
             absl::StrCat("expected a positive number, got ", m->intermediate_size));
  }
  std::string act = "swish";
  r->String("hidden_act", &act);
  if (act != "swish" && act != "silu") {
    r->Fault("hidden_act", absl::StrCat("\"", act, "\" is not supported: the MLP is SwiGLU"));
  }
  r->Only("use_l2warp", false, "it changes the gradient of the loss");
  r->Only("attnres_block_size", nullptr, "it changes the residual path");
  r->Ignore(
      {"attn_mode", "fuse_norm", "fuse_swiglu", "fuse_cross_entropy", "fuse_linear_cross_entropy"});
}

void ReadDeltaCommon(KeyReader* r, DeltaMixerConfig* d) {
  r->Int("num_heads", &d->num_heads);
  bool conv = true;
  r->Bool("use_short_conv", &conv);
  r->Int("conv_size", &d->conv_width);
  if (conv && d->conv_width < 1) {
    r->Fault("conv_size", absl::StrCat("expected a positive number, got ", d->conv_width));
  }
  if (!conv) d->conv_width = 0;
  r->Bool("allow_neg_eigval", &d->negative_eigenvalues);
}

// int(total * expand), as the library computes widths; 0 with a fault if it is none.
int64_t ExpandedWidth(KeyReader* r, const char* key, int64_t total, double expand) {
  const double width = static_cast<double>(total) * expand;
  if (!(width >= 1 && width < 1e9)) {
    r->Fault(key, absl::StrCat(expand, " gives no width"));
    return 0;
  }
  return static_cast<int64_t>(width);
}

DeltaMixerConfig ReadDeltaNet(KeyReader* r, const ModelConfig& m) {
  DeltaMixerConfig d{.decay = DeltaDecay::kNone, .num_heads = 16};
  ReadDeltaCommon(r, &d);
  const auto head_dim = [&](const char* key, int64_t* dim) {
    double expand = 1;
    r->Real(key, &expand);
    const int64_t width = ExpandedWidth(r, key, m.hidden_size, expand);
    if (width == 0 || d.num_heads < 1) return;
    if (width % d.num_heads != 0) {
      r->Fault(key,
               absl::StrCat("a width of ", width, " does not divide into num_heads ", d.num_heads));
    }
    *dim = width / d.num_heads;
  };
  head_dim("expand_k", &d.key_dim);
  head_dim("expand_v", &d.value_dim);
  bool gate = false;
  r->Bool("use_gate", &gate);
  d.output_gate = gate ? OutputGate::kSilu : OutputGate::kNone;
  r->Bool("use_beta", &d.learned_beta);
  if (!d.learned_beta && d.negative_eigenvalues) {
    r->Fault("allow_neg_eigval", "true with use_beta false (beta = 2 everywhere) is not supported");
  }
  r->Only("qk_activation", "silu", "q and k pass through SiLU");
  r->Only("qk_norm", "l2", "q and k are normalised by their L2 norm");
  r->Ignore({"use_output_norm"});  // the library's layer ignores it: the norm always exists
  return d;
}

DeltaMixerConfig ReadGated(KeyReader* r, HfFamily family) {
  const bool kda = family == HfFamily::kKda;
  DeltaMixerConfig d{.decay = kda ? DeltaDecay::kPerChannel : DeltaDecay::kPerHead,
                     .num_heads = kda ? 16 : 6,
                     .key_dim = kda ? 128 : 256};
  ReadDeltaCommon(r, &d);
  r->Count("num_v_heads", &d.num_value_heads);
  r->Int("head_dim", &d.key_dim);
  double expand_v = kda ? 1 : 2;
  r->Real("expand_v", &expand_v);
  d.value_dim = ExpandedWidth(r, "expand_v", d.key_dim, expand_v);
  if (!kda) {
    bool gate = true;
    r->Bool("use_gate", &gate);
    d.output_gate = gate ? OutputGate::kSilu : OutputGate::kNone;
    return d;
  }
  d.output_gate = OutputGate::kSigmoid;
  d.output_gate_rank = d.decay_rank = d.value_dim;
  bool safe_gate = false;
  r->Bool("safe_gate", &safe_gate);
  r->Real("lower_bound", &d.gate_lower_bound);
  if (safe_gate && !d.gate_lower_bound.has_value()) {
    r->Fault("safe_gate", "true needs a lower_bound");
  }
  return d;
}

// ---- Hugging Face -----------------------------------------------------------------------------

AttentionMixerConfig ReadLlama(KeyReader* r, ModelConfig* m, std::vector<std::string>* faults,
                               std::vector<std::string>* unread) {
  m->hidden_size = 4096;
  m->num_layers = 32;
  m->intermediate_size = 11008;
  r->Int("hidden_size", &m->hidden_size);
  r->Int("num_hidden_layers", &m->num_layers);
  r->Int("intermediate_size", &m->intermediate_size);
  if (m->intermediate_size < 1) {
    r->Fault("intermediate_size",
             absl::StrCat("expected a positive number, got ", m->intermediate_size));
  }
  r->Real("rms_norm_eps", &m->norm_eps);
  r->Bool("mlp_bias", &m->mlp_bias);
  const AttentionMixerConfig a = ReadLlamaAttention(r, faults, unread);
  std::string act = "silu";
  r->String("hidden_act", &act);
  if (act != "silu" && act != "swish") {
    r->Fault("hidden_act", absl::StrCat("\"", act, "\" is not supported: the MLP is SwiGLU"));
  }
  r->Only("qk_norm", false, "q and k are not normalised");
  r->Ignore({"pretraining_tp"});  // splits products, changes no result
  return a;
}

}  // namespace

absl::StatusOr<HfConfig> ReadHfConfig(const nlohmann::json& config) {
  if (!config.is_object()) return absl::InvalidArgumentError("config.json: expected an object");
  std::vector<std::string> faults, unread;
  KeyReader r(config, "", &faults);
  std::string model_type;
  r.String("model_type", &model_type);
  const std::optional<HfFamily> family = FamilyOfModelType(model_type);
  if (!family.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: model_type: \"", model_type,
                     "\" is not supported; expected delta_net, gated_deltanet, kda, transformer, "
                     "llama or kimi_linear"));
  }
  HfConfig result{.family = *family};
  ModelConfig& m = result.model;
  IgnoreCommonKeys(&r);
  RefuseAlterations(&r);
  ReadVocabulary(&r, &m);
  if (*family != HfFamily::kLlama && *family != HfFamily::kKimiLinear) ReadFlaCommon(&r, &m);
  switch (*family) {
    case HfFamily::kDeltaNet:
      UseEverywhere("delta_net", ReadDeltaNet(&r, m), &m);
      break;
    case HfFamily::kGatedDeltaNet:
      UseEverywhere("gated_delta_net", ReadGated(&r, *family), &m);
      break;
    case HfFamily::kKda:
      UseEverywhere("kda", ReadGated(&r, *family), &m);
      break;
    case HfFamily::kTransformer:
      UseEverywhere("attention", ReadTransformerAttention(&r), &m);
      break;
    case HfFamily::kLlama:
      UseEverywhere("attention", ReadLlama(&r, &m, &faults, &unread), &m);
      break;
    case HfFamily::kKimiLinear:
      ReadKimi(&r, &m, &faults, &unread);
      break;
  }
  if (*family == HfFamily::kDeltaNet || *family == HfFamily::kGatedDeltaNet ||
      *family == HfFamily::kKda) {
    ReadHybrid(r.Json("attn"), &m, &faults, &unread);
  }
  if (faults.empty()) faults = m.Validate();
  if (!faults.empty()) {
    const size_t num_faults = faults.size();
    if (num_faults > kMaxShownFaults) {
      faults.resize(kMaxShownFaults);
      faults.push_back(absl::StrCat("and ", num_faults - kMaxShownFaults, " faults more"));
    }
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: ", absl::StrJoin(faults, "\nconfig.json: ")));
  }
  result.kept = nlohmann::json::object();
  for (const char* key : {"model_type", "bos_token_id", "eos_token_id", "max_position_embeddings",
                          "model_max_length"}) {
    if (r.Has(key)) result.kept[key] = config[key];
  }
  for (const std::string& key : r.Unread()) {
    result.kept[key] = config[key];
    unread.push_back(key);
  }
  for (const std::string& key : unread) {
    result.warnings.push_back(
        absl::StrCat("config.json: ", key, ": unknown to Wyvern and left out of account"));
  }
  return result;
}

}  // namespace wyvern
