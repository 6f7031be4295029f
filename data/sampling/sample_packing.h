#ifndef WYVERN_DATA_SAMPLING_SAMPLE_PACKING_H_
#define WYVERN_DATA_SAMPLING_SAMPLE_PACKING_H_

namespace wyvern {

// How the documents of a store are laid out in samples.
enum class SamplePacking {
  kSplit,  // a sample is the next seq_len tokens, wherever documents begin
  kWhole,  // a sample is some documents, each from its beginning on, and padding
};

constexpr const char* Name(SamplePacking packing) {
  return packing == SamplePacking::kSplit ? "split" : "whole";
}

}  // namespace wyvern

#endif  // WYVERN_DATA_SAMPLING_SAMPLE_PACKING_H_
