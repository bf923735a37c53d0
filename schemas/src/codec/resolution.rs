//! Avro's schema resolution, as far as our records need it: whether a schema that somebody registered can be read.

use std::mem::discriminant;

use serde_avro_fast::schema::{LogicalType, RegularType, SchemaKey, SchemaMut};

/// Whether data written in the schema `theirs` can be read as `ours`, field by field; says what doesn't fit.
///
/// A field that ours may lack may be missing, or another's may be null where the data never is; numbers may be narrower,
/// and text may be bytes. Fields that ours doesn't have, and the symbols of enums, are the decoder's matter.
pub(super) fn check_readable(theirs: &SchemaMut, ours: &SchemaMut) -> Result<(), String> {
    let (RegularType::Record(their_record), RegularType::Record(our_record)) =
        (&theirs.root().type_, &ours.root().type_)
    else {
        return Err("the schema is not a record's".into());
    };
    for our_field in &our_record.fields {
        let name = &our_field.name;
        match their_record.fields.iter().find(|field| field.name == *name) {
            None if is_optional(ours, our_field.type_) => {}
            None => return Err(format!("the schema has no field {name}")),
            Some(field) if fits(theirs, field.type_, ours, our_field.type_) => {}
            Some(_) => return Err(format!("the schema's field {name} is of another type")),
        }
    }
    Ok(())
}

fn is_optional(schema: &SchemaMut, key: SchemaKey) -> bool {
    matches!(schema[key].type_, RegularType::Union(_))
}

/// The only type besides null that a node may be; a choice of several has none.
fn only(schema: &SchemaMut, key: SchemaKey) -> Option<SchemaKey> {
    let RegularType::Union(union) = &schema[key].type_ else {
        return Some(key);
    };
    let mut others = union.variants.iter().filter(|key| !matches!(schema[**key].type_, RegularType::Null));
    others.next().copied().filter(|_| others.next().is_none())
}

fn fits(theirs: &SchemaMut, their_key: SchemaKey, ours: &SchemaMut, our_key: SchemaKey) -> bool {
    let (Some(their_key), Some(our_key)) = (only(theirs, their_key), only(ours, our_key)) else {
        return false;
    };
    let (their_node, our_node) = (&theirs[their_key], &ours[our_key]);
    // A logical type changes how the decoder reads its node; of these it reads the node as it is.
    if !matches!(their_node.logical_type, None | Some(LogicalType::TimestampMillis | LogicalType::Uuid)) {
        return false;
    }
    match (&their_node.type_, &our_node.type_) {
        (RegularType::Array(their_array), RegularType::Array(our_array)) => {
            fits(theirs, their_array.items, ours, our_array.items)
        }
        (RegularType::Int, RegularType::Long)
        | (RegularType::Int | RegularType::Long | RegularType::Float, RegularType::Double)
        | (RegularType::Bytes, RegularType::String) => true,
        (their_type, our_type) => discriminant(their_type) == discriminant(our_type),
    }
}
